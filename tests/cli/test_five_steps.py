"""The five steps as `make run` does them where there is no terminal, in real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from fqconsole import paths
from store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_demo_does_the_five_steps_and_leaves_three_runs():
    done = subprocess.run(
        [sys.executable, "-m", "fqconsole", "demo"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    for step in ("1 model", "2 fit", "3 quantize", "4 evaluate", "5 generate", "run"):
        assert f"\n{step} " in f"\n{done.stdout}"
    with Store.open(paths.store_file()) as store:
        rows = store.list_runs(sort="id asc")
        answer = store.run(rows[-1].run_id).generation
    assert [(row.kind, row.status) for row in rows] == [
        ("quantize", "done"),
        ("evaluate", "done"),
        ("generate", "done"),
    ]
    assert answer is not None
    assert answer.output is not None
    assert answer.output.split()[0] in done.stdout
    assert Path(rows[0].path or "").is_dir()
