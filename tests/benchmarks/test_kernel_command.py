"""The command line: defaults, choices, the order of a run, and the report of an earlier one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.kernels import __main__ as command
from benchmarks.kernels import run, warm
from benchmarks.kernels.layers import CLASSES, MAIN, QUICK_ROWS, ROWS, SCHEMES
from benchmarks.kernels.peers import PEERS
from benchmarks.kernels.points import Record
from benchmarks.kernels.timing import Budget
from benchmarks.kernels.work import Work
from tests.benchmarks.kernel_records import record, roof


def choice(*arguments: str) -> run.Choice:
    return command.choice_of(command.parser().parse_args(list(arguments)))


def test_the_whole_run_is_everything_within_eight_minutes():
    made = choice()
    assert made.rows == ROWS and made.classes == tuple(CLASSES) and made.schemes == tuple(SCHEMES.values())
    assert made.peers == tuple(PEERS) and made.parts == run.PARTS and made.seconds < 480
    assert made.first == MAIN and made.dtypes == (torch.float16, torch.bfloat16)


def test_the_quick_run_is_one_model_within_ninety_seconds():
    made = choice("--quick")
    assert made.rows == QUICK_ROWS and made.seconds < 90
    assert all("llama" in name for name in made.classes)


def test_every_choice_counts():
    made = choice("--rows", "8", "1", "--schemes", "int3-64", "--dtypes", "bf16", "--peers", "--seconds", "5")
    assert made.rows == (1, 8) and made.peers == () and made.seconds == 5
    assert made.first.label == "int3-64"


def test_a_run_goes_from_the_most_to_the_least_important():
    work = Work(Record({}, roof()), Budget(1.0), (1,))
    steps = [*run.own_steps(work, choice()), *run.peer_steps(work, choice(), [PEERS["humming"]()])]
    parts = [part for part, _ in steps]
    assert list(dict.fromkeys(parts))[:3] == ["cublas", "ours", "chain"]
    assert set(parts) == set(run.PARTS)
    assert set(warm.COMPILING) <= set(run.PARTS) and set(run.QUICK_PARTS) <= set(run.PARTS)
    assert parts.index("experts") < parts.index("peers") < parts.index("rest")


def test_a_run_keeps_what_it_has_after_every_part_and_goes_on_after_a_failure(monkeypatch):
    def fail() -> None:
        raise RuntimeError("broken")

    def note(work: Work) -> None:
        work.record.figures["made"] = 1.0

    monkeypatch.setattr(run, "measure_roof", lambda quick: roof())
    monkeypatch.setattr(run, "surroundings", lambda: {"gpu": "made up"})
    monkeypatch.setattr(run, "own_steps", lambda work, choice: [("ours", fail), ("host", lambda: note(work))])
    monkeypatch.setattr(run, "peer_steps", lambda work, choice, peers: [("rest", fail)])
    kept = []
    made = run.run(choice("--peers"), Budget(1e9), lambda record: kept.append(dict(record.figures)))
    assert kept == [{}, {}, {"made": 1.0}]
    assert made.notes == ["ours failed: RuntimeError: broken", "rest failed: RuntimeError: broken"]


def test_the_report_of_an_earlier_run(tmp_path: Path, monkeypatch, capsys):
    record().save(tmp_path / "run.json")
    files = {"--load": "run.json", "--markdown": "run.md", "--svg": "run.svg"}
    arguments = [part for flag, name in files.items() for part in (flag, str(tmp_path / name))]
    monkeypatch.setattr(sys, "argv", ["kernels", *arguments])
    assert command.main() == 0
    assert (tmp_path / "run.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "run.svg").read_text().startswith("<svg")


def test_a_wrong_product_ends_with_1(tmp_path: Path, monkeypatch):
    made = record()
    made.notes.append("ours int4-128 fp16 Llama-8B o M=1 is WRONG: relative error 1.0e-01")
    made.save(tmp_path / "run.json")
    monkeypatch.setattr(sys, "argv", ["kernels", "--load", str(tmp_path / "run.json")])
    assert command.main() == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kernels"])
    assert command.main() == 0
    assert "No CUDA GPU here" in capsys.readouterr().out


def test_compiling_ahead_takes_every_step_once_and_outlives_a_failure(monkeypatch):
    done = []

    def listed(work, choice):
        def step(name):
            done.append(name)
            assert work.time([lambda: None]) == 1.0
            raise RuntimeError(name)

        return [
            (part, lambda name=f"{part} {i}": step(name))
            for part in ("host", "ours", "rest")
            for i in (0, 1, 2)
        ]

    monkeypatch.setattr(warm, "own_steps", listed)
    monkeypatch.setattr(warm, "peer_steps", lambda work, choice, peers: [])
    made = choice("--peers", "--parts", "ours", "host", "rest")
    for share in range(2):
        warm.compile_share(made, share, 2)
    assert sorted(done) == ["ours 0", "ours 1", "ours 2", "rest 0", "rest 1", "rest 2"]


def test_compiling_ahead_passes_the_arguments_on_and_ends_what_takes_too_long(monkeypatch):
    started = []

    class Process:
        def __init__(self, command, **_) -> None:
            self.command, self.killed = command, False
            started.append(self)

        def wait(self, timeout=None) -> None:
            if timeout is not None:
                raise subprocess.TimeoutExpired("", timeout)

        def kill(self) -> None:
            self.killed = True

    monkeypatch.setattr(warm.subprocess, "Popen", Process)
    warm.compile_ahead(Budget(0.0), 2, ["--quick"])
    assert [p.command[-4:] for p in started] == [["--quick", "--warm", str(i), "2"] for i in (0, 1)]
    assert all(process.killed for process in started)
