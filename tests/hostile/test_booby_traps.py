"""A model folder that brings code with it, and asks for it to be run in every way that config files know."""

import json
import shutil

import pytest

from fqconsole.demo import materialize
from tests.faults.operator import Operator

TRAP = """
from pathlib import Path
Path({sprung!r}).write_text("sprung")
from transformers import LlamaConfig as TrapConfig, LlamaForCausalLM as TrapModel
from transformers import PreTrainedTokenizerFast as TrapTokenizer
"""

NAMES = (
    "modeling_trap.py", "configuration_trap.py", "tokenization_trap.py", "__init__.py", "setup.py",
    "sitecustomize.py", "transformers.py", "conftest.py",
)  # fmt: skip


@pytest.fixture
def trapped(tmp_path):
    """A copy of the built-in model with code; (folder, the file that the code writes when it is run)."""
    folder, sprung = tmp_path / "trapped", tmp_path / "sprung"
    shutil.copytree(materialize("demo"), folder)
    code = TRAP.format(sprung=str(sprung))
    for name in (
        "modeling_trap.py",
        "configuration_trap.py",
        "tokenization_trap.py",
        "__init__.py",
        "setup.py",
    ):
        (folder / name).write_text(code)
    (folder / "sitecustomize.py").write_text(code)
    (folder / "transformers.py").write_text(code)
    change(
        folder / "config.json",
        auto_map={
            "AutoConfig": "configuration_trap.TrapConfig",
            "AutoModelForCausalLM": "modeling_trap.TrapModel",
            "AutoTokenizer": ["tokenization_trap.TrapTokenizer", None],
        },
        trust_remote_code=True,
        custom_generate="modeling_trap",
    )
    change(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["tokenization_trap.TrapTokenizer", "tokenization_trap.TrapTokenizer"]},
        trust_remote_code=True,
    )
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code)
    return folder, sprung


def change(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.slow
def test_no_code_of_a_model_is_run_by_anything(trapped, tmp_path):
    folder, sprung = trapped
    operator = Operator(tmp_path / "home")
    out = tmp_path / "made" / "out"
    for said in (
        ("models", "show", folder),
        ("fit", folder),
        ("plan", folder, "--target-bits", "4"),
        ("quantize", folder, "--mode", "fast", "--out", out, "--quiet"),
        ("verify", out),
        ("generate", folder, "--prompt", "Once", "--max-new-tokens", "4", "--quiet"),
        ("generate", out, "--prompt", "Once", "--max-new-tokens", "4", "--quiet"),
        ("evaluate", out, "--max-tokens", "512", "--quiet"),
    ):
        ended = operator.run(*said)
        assert not sprung.exists(), said
        assert "Traceback" not in ended.err
        assert ended.code == 0, (said, ended.err)
    assert not list(out.rglob("*.py")), "code was carried into the checkpoint"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trap"])
def test_a_model_that_only_its_own_code_can_run_is_refused_with_a_sentence(trapped, tmp_path, kind):
    folder, sprung = trapped
    change(folder / "config.json", model_type=kind, architectures=["TrapModel"])
    ended = Operator(tmp_path / "home").run("generate", folder, "--prompt", "Once", "--quiet")
    assert not sprung.exists()
    assert ended.code in {1, 2}
    assert "Traceback" not in ended.err
    assert ended.err.strip()
