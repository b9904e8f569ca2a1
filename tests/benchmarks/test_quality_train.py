"""The model that the quality tables train for themselves: what it reads, holds out and leaves."""

import hashlib
import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.quality import train


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "sources"
    place.mkdir()
    for number in range(300):
        lines = [hashlib.sha256(f"{number} {line}".encode()).hexdigest() for line in range(10)]
        (place / f"part{number}.py").write_text("\n".join(lines))
    (place / "notes.md").write_text("not asked for")
    return place


def test_every_file_is_trained_on_or_held_out_and_none_is_both(folder):
    chosen, held = train.sources(folder, ".py", 10**9)
    assert not set(chosen) & set(held)
    assert len(chosen) + len(held) == 300
    assert 1 <= len(held) <= 20
    fewer, same = train.sources(folder, ".py", 9000)
    assert fewer == chosen[: len(fewer)]
    assert sum(path.stat().st_size for path in fewer[:-1]) < 9000
    assert same == held


@pytest.mark.parametrize("suffix", [".rst", ".md"])
def test_a_folder_with_too_little_is_refused(folder, suffix):
    with pytest.raises(SystemExit, match="too few"):
        train.sources(folder, suffix, 10**9)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="is not a folder"):
        train.sources(tmp_path / "none", ".py", 10**9)


@pytest.mark.slow
def test_a_toy_is_trained_saved_and_loads(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "toy"
    asked = ["--text", str(folder), "--out", str(out), "--seconds", "2", "--batch", "2", "--tiny"]
    monkeypatch.setattr("sys.argv", ["train", *asked])
    train.main()
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["steps"] > 0
    model = AutoModelForCausalLM.from_pretrained(out)
    ids = AutoTokenizer.from_pretrained(out)((out / "heldout.txt").read_text(), return_tensors="pt").input_ids
    assert model(ids[:, :16]).logits.shape[-1] == train.VOCABULARY
