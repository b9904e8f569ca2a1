"""The kernels under compute-sanitizer: what is refused, what is covered, and how a tool's report is read."""

import ast
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.kernels import sanitize
from benchmarks.kernels.sanitize import (
    KERNELS,
    Ran,
    command,
    faults_in,
    report,
    run,
    run_all,
    verdict,
    why_not,
)
from benchmarks.kernels.sanitizer_cases import CASES, Case

ROOT = Path(sanitize.__file__).parents[2]
CLEAN = "========= ERROR SUMMARY: 0 errors\n"
NO_RACE = "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n"
INVALID = """launched decode_kernel
========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at planted_write_kernel+0x70 in sanitizer_cases.py:206
========= ERROR SUMMARY: 3 errors
"""
RACE = "========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)\n"
PLANTED = Case("planted", "planted_write_kernel", lambda: None, planted="memcheck")
PLAIN = Case("plain", "norm_kernel", lambda: None)


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["sanitize"])
    assert sanitize.main() == 2
    assert capsys.readouterr().out == (
        "There is no GPU here that torch can use, so the kernels can't be checked.\n"
    )


def test_without_the_program_it_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(sanitize, "PLACE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why_not() == (
        f"compute-sanitizer, of NVIDIA's CUDA toolkit, is neither on the PATH nor in {tmp_path}."
    )
    program = tmp_path / "compute-sanitizer"
    program.touch(0o755)
    assert why_not() == ""
    assert command(PLAIN, "memcheck")[0] == str(program)


def test_names_are_unique():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


def test_every_kernel_has_a_case():
    """A kernel is what the host launches: its name says so."""
    kernels = {
        node.name
        for room in ("kernels", "quantizer")
        for file in (ROOT / room).glob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.endswith("_kernel")
        if any("jit" in ast.unparse(decorator) for decorator in node.decorator_list)
    }
    assert len(kernels) > 20
    assert set(KERNELS) == kernels | {"planted_write_kernel", "planted_race_kernel"}


def test_a_tool_looks_at_our_kernels_in_the_case_alone():
    words = command(PLAIN, "racecheck")
    assert words[-2:] == ["--case", "plain"] and words[1:3] == ["--tool", "racecheck"]
    assert "kne=ring_kernel" in words and "--padding" not in words
    assert command(PLAIN, "") == [sys.executable, "-m", "benchmarks.kernels.sanitize", "--case", "plain"]
    assert not any("kne=" in word for word in command(PLAIN, "initcheck"))


@pytest.mark.parametrize(
    ("said", "faults"),
    [(CLEAN, 0), (NO_RACE, 0), (INVALID, 3), (RACE, 2), (CLEAN + INVALID, 3), ("killed", None)],
)
def test_a_tool_counts_at_its_end(said, faults):
    assert faults_in(said) == faults


@pytest.mark.parametrize(
    ("code", "said", "tool", "ended"),
    [
        (0, "", "", "clean"),
        (1, "", "", "failed"),
        (0, CLEAN, "memcheck", "clean"),
        (1, CLEAN, "memcheck", "failed"),
        (0, "Device not supported", "memcheck", "failed"),
        (99, INVALID, "memcheck", "3 errors"),
        (99, RACE.replace("2 hazards", "1 hazard"), "racecheck", "1 error"),
    ],
)
def test_how_a_run_ended(code, said, tool, ended):
    assert verdict(code, said, tool) == ended


def test_a_report_is_shown_from_its_beginning_and_a_failure_from_its_end():
    assert Ran("3 errors", 1.0, INVALID).excerpt.splitlines()[0].endswith("write of size 4 bytes")
    assert Ran("failed", 1.0, "\n".join(map(str, range(40)))).excerpt.splitlines()[-1] == "39"


def test_what_is_planted_runs_under_its_tool_alone_and_what_fails_alone_under_none(monkeypatch):
    ran = []

    def run(case: Case, tool: str, end: float) -> Ran:
        ran.append((case.name, tool))
        return Ran("failed" if case.name == "bad" else "clean")

    monkeypatch.setattr(sanitize, "run", run)
    run_all((PLANTED, PLAIN, PLAIN._replace(name="bad")), ("memcheck", "racecheck"), 60, 1)
    assert ran == [
        ("plain", ""), ("bad", ""), ("planted", "memcheck"), ("plain", "memcheck"), ("plain", "racecheck"),
    ]  # fmt: skip


def test_nothing_is_begun_that_has_no_time_left():
    found = run_all((PLAIN,), ("memcheck",), 1.0, 2)
    assert [ran.ended for ran in found.values()] == ["left out"]


@pytest.mark.parametrize(
    ("planted", "plain", "well", "told"),
    [
        (Ran("1 error", 2.0, INVALID), Ran("clean", 3.0), True, ""),
        (Ran("clean", 2.0), Ran("clean", 3.0), False, "memcheck sees nothing here: planted is clean"),
        (Ran("1 error", 2.0), Ran("3 errors", 3.0, INVALID), False, "memcheck plain: 3 errors"),
        (Ran("1 error", 2.0), Ran("failed", 3.0, "RuntimeError"), False, "RuntimeError"),
        (Ran("1 error", 2.0), Ran("timed out", 150.0), True, "1 of 3 runs were left out or timed out"),
    ],
)
def test_the_report_says_what_is_wrong(planted, plain, well, told, capsys):
    found = {
        ("plain", ""): Ran("clean", 1.0), ("planted", "memcheck"): planted, ("plain", "memcheck"): plain,
    }  # fmt: skip
    assert report((PLANTED, PLAIN), ("memcheck",), found) is well
    out = capsys.readouterr().out
    assert told in out
    assert out.splitlines()[0].split() == ["case", "kernels", "alone", "memcheck"]
    assert plain.cell in out


def test_a_run_that_takes_too_long_is_cut_off(monkeypatch):
    code = "import time; print('begun', flush=True); time.sleep(60)"
    monkeypatch.setattr(sanitize, "command", lambda case, tool: [sys.executable, "-c", code])
    monkeypatch.setattr(sanitize, "SHORTEST", 0.0)
    monkeypatch.setattr(sanitize, "LONGEST", 3.0)
    ran = run(PLAIN, "memcheck", time.monotonic() + 60)
    assert (ran.ended, ran.said) == ("timed out", "begun\n")
    assert run(PLAIN, "memcheck", time.monotonic() + 1).ended == "left out"
