"""Prompts are for their owner's eyes, and a token of the hub or of an endpoint is written down nowhere."""

import os
import stat
from pathlib import Path

import pytest

from tests.faults.operator import Operator

PROMPT = "a prompt nobody else may read"
TOKEN = "hf_ThisTokenMustNotBeWrittenAnywhere"


def open_to_others(path: Path, root: Path) -> bool:
    """Whether another user may read `path`, by its own rights and those of every folder from `root` to it."""
    folders = [place for place in path.parents if place == root or root in place.parents]
    enter = all(place.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for place in folders)
    return enter and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


@pytest.fixture
def careless():
    """An umask that opens every new file to everyone."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.slow
def test_what_may_hold_a_prompt_is_its_owners_alone_and_tokens_are_nowhere(tmp_path, careless):
    secrets = {"HF_TOKEN": TOKEN, "HUGGING_FACE_HUB_TOKEN": TOKEN, "OPENAI_API_KEY": TOKEN}
    operator = Operator(tmp_path / "home", secrets)
    made = tmp_path / "made"
    made.mkdir()
    said = [
        operator.run("generate", "demo", "--prompt", PROMPT, "--max-new-tokens", "4", "--events"),
        operator.run("generate", "demo", "--prompt", PROMPT, "--context", "8"),  # fails: too long
        *(
            operator.run("runs", "export", "r0001", "--format", form, "--out", made / f"runs.{form}")
            for form in ("json", "csv", "markdown", "html")
        ),
        operator.run("runs", "backup", made / "copy.db"),
        operator.run("doctor"),
        operator.run("paths"),
        operator.run("models", "download", "nobody/nothing"),
    ]
    assert said[0].code == 0, said[0].err
    for ended in said:
        assert "Traceback" not in ended.err
        assert TOKEN not in ended.out + ended.err
    files = [path for place in (tmp_path / "home", made) for path in place.rglob("*") if path.is_file()]
    holding = [path for path in files if PROMPT.encode() in path.read_bytes()]
    assert len(holding) >= 4  # the store, its copy, exports
    root = tmp_path
    for path in files:
        assert TOKEN.encode() not in path.read_bytes(), path
    for path in holding:
        inside_home = (tmp_path / "home") in path.parents
        exposed = open_to_others(path, tmp_path / "home") if inside_home else path.stat().st_mode & 0o077
        assert not exposed, f"{path.relative_to(root)} can be read by others"
