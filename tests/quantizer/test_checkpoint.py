"""Claiming, leaving and publishing a checkpoint's folder."""

import shutil
import subprocess
import sys
from collections import namedtuple

import msgspec
import pytest

from fqconsole.errors import OperatorError, UsageError
from quantizer import base_plan
from quantizer.checkpoint import claim_folder, find_unfinished, partial_folders, require_space
from quantizer.journal import Journal, JournalHead, PartRecord, WrittenShard

GIB = 1 << 30


@pytest.fixture
def plans(sharded_llama):
    return base_plan(sharded_llama, 4), base_plan(sharded_llama, 3)


def finish_a_part(folder, plan):
    journal = Journal(folder, JournalHead(plan, (), "0"))
    journal.add(PartRecord(WrittenShard("model.safetensors", 1, ""), (), None))
    journal.close()


def test_the_folder_has_its_name_only_after_publishing(tmp_path, plans):
    out = tmp_path / "deep" / "out"
    with claim_folder(out, plans[0]) as folder:
        (folder.path / "config.json").write_text("{}")
        assert folder.path.name.startswith("out.partial-")
        assert not out.exists()
        folder.publish()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert [path.name for path in out.iterdir()] == ["config.json"]


def test_an_empty_folder_may_be_filled_and_a_full_one_not(tmp_path, plans):
    out = tmp_path / "out"
    out.mkdir()
    with claim_folder(out, plans[0]) as folder:
        (folder.path / "config.json").write_text("{}")
        folder.publish()
    with pytest.raises(UsageError, match="exists already"), claim_folder(out, plans[0]):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is no folder"), claim_folder(tmp_path / "file", plans[0]):
        pass


@pytest.mark.parametrize("other", [0, 1])
def test_a_second_run_into_the_same_folder_is_refused(tmp_path, plans, other):
    out = tmp_path / "out"
    with claim_folder(out, plans[0]) as folder:
        with pytest.raises(UsageError, match="Another run is writing"), claim_folder(out, plans[other]):
            pass
        assert folder.path.is_dir()


def test_the_lock_dies_with_its_owner(tmp_path, plans):
    out = tmp_path / "out"
    code = (
        "import os, sys, msgspec\n"
        "from pathlib import Path\n"
        "from quantizer.checkpoint import claim_folder\n"
        "from quantizer.journal import *\n"
        "from quantizer.plan import Plan\n"
        "plan = msgspec.json.decode(sys.argv[2], type=Plan)\n"
        "with claim_folder(Path(sys.argv[1]), plan) as folder:\n"
        "    journal = Journal(folder.path, JournalHead(plan, (), '0'))\n"
        "    journal.add(PartRecord(WrittenShard('model.safetensors', 1, ''), (), None))\n"
        "    assert 'torch' not in sys.modules\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, out, msgspec.json.encode(plans[0])], check=False)
    assert done.returncode == -9
    assert find_unfinished(out).finished_parts == 1
    with claim_folder(out, plans[0]):
        assert find_unfinished(out).in_use


def test_a_failed_run_leaves_only_what_is_worth_going_on_with(tmp_path, plans):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), claim_folder(out, plans[0]):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), claim_folder(out, plans[0]) as folder:
        finish_a_part(folder.path, plans[0])
        (folder.path / "next.safetensors.tmp").write_text("")
        raise RuntimeError
    (left,) = tmp_path.iterdir()
    assert sorted(path.name for path in left.iterdir()) == ["journal.jsonl"]
    unfinished = find_unfinished(out)
    assert (unfinished.plan, unfinished.finished_parts, unfinished.in_use) == (plans[0], 1, False)


def test_an_unfinished_run_with_another_plan_is_kept_and_said(tmp_path, plans):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), claim_folder(out, plans[0]) as folder:
        finish_a_part(folder.path, plans[0])
        raise RuntimeError
    with (
        pytest.raises(UsageError, match=r"unfinished run with another plan.*Delete it"),
        claim_folder(out, plans[1]),
    ):
        pass
    assert len(partial_folders(out)) == 1


def test_a_killed_run_that_finished_nothing_gives_way_to_another_plan(tmp_path, plans):
    out = tmp_path / "out"
    (tmp_path / "out.partial-0badcafe").mkdir()
    with claim_folder(out, plans[1]) as folder:
        assert partial_folders(out) == [folder.path]


def test_another_folder_whose_name_begins_alike_is_left_alone(tmp_path, plans):
    (tmp_path / "out[1].partial-00000000").mkdir()
    with claim_folder(tmp_path / "out1", plans[0]):
        assert (tmp_path / "out[1].partial-00000000").is_dir()


def test_a_place_that_is_no_folder_is_a_sentence(tmp_path, plans):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OperatorError, match="can't be written"),
        claim_folder(tmp_path / "file" / "out", plans[0]),
    ):
        pass


def test_a_place_that_is_not_writable_is_a_sentence(tmp_path, plans, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", denied)
    with (
        pytest.raises(OperatorError, match=r"is not writable.*another folder"),
        claim_folder(tmp_path / "out", plans[0]),
    ):
        pass


def test_missing_space_is_said_in_gib(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 * GIB, 90 * GIB, 10 * GIB))
    require_space(tmp_path, 10 * GIB)
    with pytest.raises(OperatorError, match=r"needs 12\.5 GiB .* has 10\.0 GiB free: 2\.5 GiB short"):
        require_space(tmp_path, 12 * GIB + GIB // 2)
