"""What must hold for the whole house: floors, rooms without torch, the name `kernels`, docs that match."""

import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fqconsole

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "triton")
SLOW = ("textual", "asyncio", "msgspec", "huggingface_hub", "sqlite_utils")  # tens of milliseconds each
TORCH_FREE = (
    "fqconsole.app",
    "fqconsole.cli",
    "fqconsole.cli.api",
    "fqconsole.cli.application",
    "fqconsole.demo",
    "fqconsole.endpoints.conversation",
    "fqconsole.errors",
    "fqconsole.fit",
    "fqconsole.gpus",
    "fqconsole.jobs",
    "fqconsole.jobs.client",
    "fqconsole.jobs.messages",
    "fqconsole.jobs.recorder",
    "fqconsole.jobs.runs",
    "fqconsole.jobs.tasks.endpoint",
    "fqconsole.models",
    "fqconsole.paths",
    "fqconsole.serving.advice",
    "quantizer",
    "quantizer.matrices",
    "quantizer.plan",
    "quantizer.plan_file",
    "quantizer.planner",
    "quantizer.scheme",
    "store",
)


def python(code: str, *, cwd: Path) -> str:
    """What a fresh interpreter prints; fails with what it said on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_console_half_loads_no_torch(tmp_path):
    code = f"""
import importlib, sys
sys.path.insert(0, {str(ROOT)!r})
for name in {TORCH_FREE!r}:
    importlib.import_module(name)
    heavy = [module for module in {HEAVY!r} if module in sys.modules]
    if heavy:
        print(name, "loads", *heavy)
        break
"""
    assert python(code, cwd=tmp_path) == ""


def test_help_and_version_load_neither_torch_nor_textual(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from fqconsole.cli import main
for line in (["--help"], ["--version"], ["quantize", "--help"]):
    assert main(line) == 0
print("LOADED", *[module for module in {(*HEAVY, *SLOW)!r} if module in sys.modules])
"""
    assert python(code, cwd=tmp_path).splitlines()[-1] == "LOADED"


def test_the_floors_hold():
    cli = pytest.importorskip("importlinter.cli", reason="import-linter is not installed")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert cli is not None
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_version_stays_outside_what_transformers_accepts_for_the_hubs_kernels_package():
    numbers = tuple(int(part) for part in re.findall(r"\d+", fqconsole.__version__)[:2])
    assert numbers != (0, 18), "transformers would take our `kernels` folder for the Hugging Face package"
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    assert declared[1] == fqconsole.__version__


@pytest.mark.slow
def test_transformers_does_not_take_our_kernels_for_the_hubs_package(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import kernels
from transformers.utils.import_utils import is_kernels_available
print(is_kernels_available())
"""
    assert python(code, cwd=tmp_path).strip() == "False"


def _commands() -> set[str]:
    """Every command that does something, by its words."""
    from typer.main import get_command

    from fqconsole.cli.application import application

    found: set[str] = set()

    def walk(command: Any, words: str) -> None:
        below = getattr(command, "commands", None)
        if not below:
            found.add(words)
        for name, inner in (below or {}).items():
            walk(inner, f"{words} {name}")

    walk(get_command(application), "fqconsole")
    return found


def test_the_docs_name_every_command_and_only_commands_that_exist():
    text = (ROOT / "docs" / "command-line.md").read_text()
    rows = [match[1] for match in re.finditer(r"^\| `(fqconsole[^`]*)` \|", text, re.MULTILINE)]
    documented = {" ".join(word for word in row.split() if word.islower()) for row in rows}
    assert documented - {"fqconsole"} == _commands()


@pytest.mark.parametrize(
    "page", [*sorted(path.name for path in (ROOT / "docs").glob("*.md")), "../README.md"]
)
def test_every_command_line_in_the_docs_can_be_read(page):
    """Of each `fqconsole …` line in a code block, the command and the options exist."""
    text = (ROOT / "docs" / page).read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    for line in lines:
        if line.startswith("fqconsole "):
            words = shlex.split(line, comments=True)[1:]
            _require_known(list(itertools.takewhile(lambda word: word not in ("|", ">", "&&", ";"), words)))


def _require_known(words: list[str]) -> None:
    from typer.main import get_command

    from fqconsole.cli.application import application

    command: Any = get_command(application)
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word not in known | {"--help"}]
    assert not unknown, (command.name, unknown)
