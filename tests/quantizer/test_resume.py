"""Killed runs go on and end with the same bytes; changed sources and damaged parts are noticed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from fqconsole.errors import DeviceError, UsageError
from quantizer import streaming
from quantizer.blocks import quantize_rows
from quantizer.checkpoint import find_unfinished, partial_folders
from quantizer.engine import analyse, quantize
from quantizer.journal import JOURNAL
from quantizer.watch import Cancelled
from tests.quantizer.power_cut import ForgetfulDisk, PowerCut
from tests.quantizer.synthetic_models import (
    describe,
    fused_moe_tensors,
    moe_config,
    save_llama,
    save_model,
)
from tests.quantizer.test_engine import digest
from tests.quantizer.watches import CancellingWatch, RecordingWatch

# Runs a quantize that kills itself: after n matrices, or when it calls the n-th time what is named.
DYING_RUN = """
import os, signal, sys
from pathlib import Path
import msgspec
import quantizer.engine as engine
from fqconsole.models.description import ModelDescription
from quantizer.checkpoint import PartialFolder
from quantizer.journal import Journal
from quantizer.plan import Plan
from quantizer.watch import SilentWatch

description = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ModelDescription)
plan = msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=Plan)
place, count = sys.argv[4].split(":")
left = int(count)

def step(*args, **kwargs):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Dying(SilentWatch):
    def matrix(self, result):
        if place == "matrix":
            step()

def dying(function):
    def call(*args, **kwargs):
        step()
        return function(*args, **kwargs)
    return call

if place == "journal":
    Journal.add = dying(Journal.add)
if place == "file":
    engine.write_file = dying(engine.write_file)
if place == "publish":
    PartialFolder.publish = dying(PartialFolder.publish)
engine.quantize(description, plan, Path(sys.argv[3]), device="cpu", watch=Dying(), part_bytes=30_000)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model of two files that are cut into several parts each, its plan, and an undisturbed checkpoint."""
    place = tmp_path_factory.mktemp("resume")
    description = save_llama(place / "llama", layers=3, shards=2)
    plan = analyse(description, bits=4)
    quantize(description, plan, place / "whole", part_bytes=30_000)
    (place / "description.json").write_bytes(msgspec.json.encode(description))
    (place / "plan.json").write_bytes(msgspec.json.encode(plan))
    return place, description, plan


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", ["matrix:1", "matrix:9", "journal:2", "file:2", "publish:1"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(source, tmp_path, kill_at):
    place, description, plan = source
    arguments = [place / "description.json", place / "plan.json", tmp_path / "out", kill_at]
    done = subprocess.run([sys.executable, "-c", DYING_RUN, *map(str, arguments)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    quantize(description, plan, tmp_path / "out", part_bytes=30_000)
    assert digest(tmp_path / "out") == digest(place / "whole")
    assert partial_folders(tmp_path / "out") == []


@pytest.mark.slow
@pytest.mark.parametrize("names_kept", [False, True])
def test_a_power_cut_at_any_moment_loses_nothing_that_was_journaled(
    source, tmp_path, monkeypatch, names_kept
):
    place, description, plan = source
    whole, cut_at, moments = digest(place / "whole"), 0, 0
    while True:
        cut_at += 1
        root = tmp_path / f"before-{cut_at}"
        root.mkdir()
        disk = ForgetfulDisk(root, cut_at)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", disk.fsync)
            try:
                quantize(description, plan, root / "out", part_bytes=30_000)
            except PowerCut:
                moments += 1
            else:
                disk.close()
                break
        found = disk.after(tmp_path / f"after-{cut_at}", names_kept=names_kept)
        disk.close()
        out = found / "out"
        if not out.exists():
            journaled = disk.synced_lines(JOURNAL) - 1
            unfinished = find_unfinished(out)
            assert (0 if unfinished is None else unfinished.finished_parts) == max(0, journaled)
            watch = RecordingWatch()
            quantize(description, plan, out, part_bytes=30_000, watch=watch)
            assert not any("damaged" in text for _, text in watch.logs)
        assert {name: sha for name, sha in digest(out).items() if name != JOURNAL} == whole
    parts = len(list((place / "whole").glob("*.safetensors")))
    assert moments > 3 * parts  # a file, its name and its line in the journal are synced for each part


def test_a_lost_gpu_is_a_sentence_and_the_run_goes_on_where_it_was(source, tmp_path, monkeypatch):
    place, description, plan = source
    calls = []

    def losing(*arguments, **options):
        calls.append(arguments)
        if len(calls) > 10:
            raise RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA")
        return quantize_rows(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "quantize_rows", losing)
        with pytest.raises(DeviceError, match=r"was lost: CUDA error: unspecified.*it goes on where it was"):
            quantize(description, plan, tmp_path / "out", part_bytes=30_000)
    assert find_unfinished(tmp_path / "out").finished_parts > 0
    quantize(description, plan, tmp_path / "out", part_bytes=30_000)
    assert digest(tmp_path / "out") == digest(place / "whole")


def cancelled(source, out: Path):
    """A run ended after several finished parts; gives its partial folder."""
    _, description, plan = source
    with pytest.raises(Cancelled):
        quantize(description, plan, out, part_bytes=30_000, watch=CancellingWatch(12))
    return Path(find_unfinished(out).folder)


def test_a_stack_of_experts_that_was_half_finished_is_told_once_and_whole(tmp_path):
    save_model(tmp_path / "moe", fused_moe_tensors(experts=6), moe_config(experts=6))
    description = describe(tmp_path / "moe")
    plan = analyse(description, bits=4)
    whole, resumed = RecordingWatch(), RecordingWatch()
    quantize(description, plan, tmp_path / "whole", part_bytes=20_000, watch=whole)
    with pytest.raises(Cancelled):
        quantize(description, plan, tmp_path / "out", part_bytes=20_000, watch=CancellingWatch(3))
    quantize(description, plan, tmp_path / "out", part_bytes=20_000, watch=resumed)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    told = sorted((r.matrix.name, r.relative_error) for r in whole.results)
    assert sorted((r.matrix.name, r.relative_error) for r in resumed.results) == told
    assert len(told) == len(plan.matrices)


def test_a_torn_journal_costs_one_part_and_changes_nothing(source, tmp_path):
    place, description, plan = source
    folder = cancelled(source, tmp_path / "out")
    journal = folder / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-30])
    quantize(description, plan, tmp_path / "out", part_bytes=30_000)
    assert digest(tmp_path / "out") == digest(place / "whole")


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_finished_part_is_made_again(source, tmp_path, harm):
    place, description, plan = source
    folder = cancelled(source, tmp_path / "out")
    part = sorted(folder.glob("*.safetensors"))[1]
    if harm == "flip":
        data = bytearray(part.read_bytes())
        data[-3] ^= 1
        part.write_bytes(data)
    elif harm == "cut":
        os.truncate(part, 100)
    else:
        part.unlink()
    watch = RecordingWatch()
    quantize(description, plan, tmp_path / "out", part_bytes=30_000, watch=watch)
    assert any("is damaged and is made again" in text for _, text in watch.logs)
    assert digest(tmp_path / "out") == digest(place / "whole")


def test_a_source_that_changed_meanwhile_is_refused(tmp_path):
    description = save_llama(tmp_path / "m", layers=3, shards=2)
    plan = analyse(description, bits=4)
    with pytest.raises(Cancelled):
        quantize(description, plan, tmp_path / "out", part_bytes=30_000, watch=CancellingWatch(12))
    changed = tmp_path / "m" / "model-00001-of-00002.safetensors"
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    with pytest.raises(
        UsageError, match=r"model-00001-of-00002\.safetensors of .* changed since the run began"
    ):
        quantize(description, plan, tmp_path / "out", part_bytes=30_000)
    assert find_unfinished(tmp_path / "out").finished_parts > 0


def test_another_plan_does_not_go_on_from_it(source, tmp_path):
    _, description, _ = source
    cancelled(source, tmp_path / "out")
    with pytest.raises(UsageError, match="unfinished run with another plan"):
        quantize(description, analyse(description, bits=3), tmp_path / "out", part_bytes=30_000)
