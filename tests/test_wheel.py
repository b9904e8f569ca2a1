"""The wheel, made from the sdist, holds all that fqconsole needs at run time, and nothing else."""

import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("fqconsole", "kernels", "quantizer", "store")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Name → bytes of every file in a wheel that is made, as by a user's pip, of the sdist of a copy."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("made")
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    sdist = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", sdist, str(made)], cwd=source, check=True, capture_output=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*pip, "--wheel-dir", str(made), str(next(made.glob("*.tar.gz")))], check=True, capture_output=True
    )
    with zipfile.ZipFile(next(made.glob("*.whl"))) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.mark.slow
def test_every_module_and_every_file_that_is_read_at_run_time_is_in_it(wheel):
    beside = {".tcss", ".typed", ".gz", ".safetensors", ".json", ".py"}
    wanted = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix in beside and "__pycache__" not in path.parts
    }
    assert wanted <= set(wheel)
    assert {"fqconsole/py.typed", "fqconsole/app/console.tcss"} <= wanted


@pytest.mark.slow
def test_nothing_else_is_in_it(wheel):
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)
    assert sum(len(data) for data in wheel.values()) < 64 << 20


@pytest.mark.slow
def test_its_metadata_say_how_to_start_it_and_what_it_needs(wheel):
    (place,) = (name.rpartition("/")[0] for name in wheel if name.endswith("/METADATA"))
    assert b"fqconsole = fqconsole.cli:main" in wheel[f"{place}/entry_points.txt"]
    metadata = Parser().parsestr(wheel[f"{place}/METADATA"].decode())
    needs = {re.match(r"[\w.-]+", need)[0] for need in metadata.get_all("Requires-Dist")}
    assert {"torch", "transformers", "triton", "textual", "sqlite-utils", "nvidia-ml-py"} <= needs
    assert {"api", "serve", "eval", "gguf"} <= set(metadata.get_all("Provides-Extra"))
    assert metadata["License-Expression"] == "Apache-2.0"
