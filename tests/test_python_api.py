"""The examples of docs/python-api.md run as they stand, and load nothing of the console."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "python-api.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
CONSOLE = ("textual", "fqconsole.app", "fqconsole.cli", "fqconsole.jobs", "sqlite_utils")


def test_there_is_an_example_of_each_in_fifteen_lines():
    assert len(EXAMPLES) == 2
    for example in EXAMPLES:
        assert len([line for line in example.splitlines() if line.strip()]) <= 15


@pytest.mark.slow
def test_the_examples_run_and_need_no_console(tmp_path):
    from tests.test_contracts import python

    root = str(Path(__file__).resolve().parents[1])
    code = "\n".join(
        [
            f"import sys; sys.path.insert(0, {root!r})",
            *EXAMPLES,
            f"print('CONSOLE', *[name for name in {CONSOLE!r} if name in sys.modules])",
        ]
    )
    said = python(code, cwd=tmp_path).splitlines()
    assert said[-1] == "CONSOLE"
    assert re.match(r"\d+ matrices, 4\.\d+ bits per weight", said[0])
    assert any(line.endswith("torch.bfloat16") for line in said)
    assert any(line.startswith("int4 cpu") for line in said)


def test_every_room_says_that_it_is_typed():
    root = Path(__file__).resolve().parents[1]
    for room in ("fqconsole", "kernels", "quantizer", "store"):
        assert (root / room / "py.typed").is_file()
