"""Every command of the tutorial, as it stands there and in its order, works on a machine without anything."""

import re
import shlex
from pathlib import Path

import pytest

from tests.faults.operator import Operator

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


def commands():
    blocks = re.findall(r"^```\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.startswith("fqconsole ")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_tutorial_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    operator = Operator(tmp_path / "home")
    found = commands()
    assert len(found) > 12
    said = {}
    for line in found:
        ended = operator.run(*shlex.split(line)[1:])
        assert ended.code == 0, f"{line}\n{ended.err}"
        said[line] = ended.out + ended.err
    spoilt, saved = (perplexity(said[line]) for line in said if "demo-outliers --max-tokens" in line)
    assert spoilt > 100 * saved
    assert "<html" in (tmp_path / "report.html").read_text()


def perplexity(text):
    return float(re.search(r"[Pp]erplexity\D*([\d.,]+)", text)[1].replace(",", "").rstrip("."))
