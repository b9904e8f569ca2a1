"""The Containerfile and the Apptainer recipe copy what exists, all that the wheel needs, and do the same."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions():
    """(word, rest) of each instruction, lines joined and comments left out."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def sections():
    """Section of fqconsole.def → its lines; "" is the header."""
    found, name = {"": []}, ""
    for line in (ROOT / "fqconsole.def").read_text().splitlines():
        if line.startswith("%"):
            name = line[1:]
            found[name] = []
        elif line.strip() and not line.startswith("#"):
            found[name].append(line.strip())
    return found


def copied():
    container = [word for kind, rest in instructions() if kind == "COPY" for word in rest.split()[:-1]]
    return container, [line.split()[0] for line in sections()["files"]]


def commands():
    container = [part.strip() for kind, rest in instructions() if kind == "RUN" for part in rest.split("&&")]
    return container, sections()["post"]


def test_each_copies_what_exists_and_all_that_a_wheel_is_made_of():
    rooms = {pattern.rstrip("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    for names in copied():
        assert all((ROOT / name).exists() for name in names), names
        assert rooms | {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"} == set(names)


def test_what_is_copied_is_sent_to_the_builder_and_nothing_else():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines.index("*") < min(lines.index(line) for line in lines if line.startswith("!"))
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied()[0])
    assert "**/__pycache__" in lines


def test_both_are_made_from_the_same_base_by_the_same_commands():
    base = next(rest for kind, rest in instructions() if kind == "FROM")
    assert f"From: {base.removeprefix('docker.io/library/')}" in sections()[""]
    container, apptainer = commands()
    assert [line for line in container if not line.startswith(("useradd", "mkdir", "chown"))] == apptainer
    assert next(rest for kind, rest in instructions() if kind == "FROM").partition(":")[2]  # a version


@pytest.mark.parametrize("lines", commands(), ids=["Containerfile", "fqconsole.def"])
def test_the_commands_install_extras_that_exist_with_versions_that_were_tried(lines):
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == 2
    for line in installs:
        words = shlex.split(line)
        assert words[words.index("-c") + 1] == "/opt/source/constraints.txt"
    extras = set(re.search(r"\[(.*)\]", installs[-1])[1].split(","))
    assert extras <= set(PROJECT["project"]["optional-dependencies"])


def test_the_container_is_not_root_and_keeps_everything_in_one_volume():
    found = dict(instructions())
    settings = dict(pair.split("=", 1) for pair in shlex.split(found["ENV"]))
    assert found["USER"] not in ("root", "0")
    assert found["USER"] in next(line for line in commands()[0] if line.startswith("useradd")).split()
    volume = found["VOLUME"]
    assert settings["FQCONSOLE_HOME"] == volume
    assert all(settings[name].startswith(volume) for name in ("HF_HOME", "TRITON_CACHE_DIR"))
    assert found["ENTRYPOINT"] == f'["{next(iter(PROJECT["project"]["scripts"]))}"]'
    assert "compute" in settings["NVIDIA_DRIVER_CAPABILITIES"]
