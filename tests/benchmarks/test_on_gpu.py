"""The row of GPU tests and benchmarks: what it writes, how a part ends, and what a budget leaves out."""

import torch

from benchmarks import on_gpu
from benchmarks.on_gpu import PARTS, Part, run, run_all


def test_each_part_leaves_what_it_printed_and_how_it_ended(tmp_path):
    good = run(Part("good", "-c 'print(1 + 1)'", 60), tmp_path)
    bad = run(Part("bad", "-c 'raise SystemExit(3)'", 60), tmp_path)
    assert (good.ended, bad.ended) == ("exit 0", "exit 3")
    assert (tmp_path / "good.txt").read_text() == "2\n"


def test_a_part_that_takes_too_long_is_cut_off(tmp_path):
    code = "import time; print('begun', flush=True); time.sleep(60)"
    result = run(Part("slow", f'-c "{code}"', 3), tmp_path)
    assert result.ended == "cut off after 3 s"
    assert (tmp_path / "slow.txt").read_text() == "begun\n"


def test_what_may_not_end_in_time_is_not_begun(tmp_path):
    parts = (Part("long", "-c 1", 100), Part("short", "-c 1", 10))
    assert [result.ended for result in run_all(parts, tmp_path, 60)] == ["no time was left", "exit 0"]


def test_without_a_gpu_it_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["on_gpu", "--out", str(tmp_path / "out")])
    assert on_gpu.main() == 2
    assert "no GPU" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_every_part_names_a_module_that_is_there():
    import importlib.util
    import shlex

    for part in PARTS:
        words = shlex.split(part.arguments)
        assert words[0] == "-m" and importlib.util.find_spec(words[1]) is not None
