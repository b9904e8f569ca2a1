"""Runs that ended before their checkpoint was whole, as the record and the journals tell them."""

import pytest

from fqconsole.app.unfinished import Unfinished, ago, unfinished_runs
from quantizer.checkpoint import PARTIAL
from quantizer.journal import Journal, JournalHead
from store import Store
from tests.app.fake_plan import base_plan
from tests.app.fakes import DEMO, NOW
from tests.app.run_seeds import begin


def partial(out):
    """A folder that a killed run left."""
    folder = out.with_name(f"{out.name}{PARTIAL}12345678")
    folder.mkdir()
    Journal(folder, JournalHead(base_plan(DEMO, 4), (), "1.0")).close()


def test_only_runs_with_something_left_of_them_are_offered_and_the_newest_of_each_folder(tmp_path):
    left, gone, whole = tmp_path / "left", tmp_path / "gone", tmp_path / "whole"
    partial(left)
    partial(whole)
    whole.mkdir()
    with Store.open(tmp_path / "runs.db") as store:
        for out, status in (
            (left, "interrupted"),
            (left, "cancelled"),
            (gone, "failed"),
            (whole, "cancelled"),
        ):
            options = {"model_path": "/m", "out": str(out), "bits": 4, "granularity": "adaptive"}
            begin(
                store, "quantize", "me/demo", ago=300, took=0, status=status, options=options, revision="abc"
            )
        begin(store, "quantize", "me/demo", ago=100, status="done", options={"out": str(left)})
        found = unfinished_runs(store)
    assert [run.run_id for run in found] == ["r0002"]
    run = found[0]
    assert run.options == {
        "mode": "best", "model_path": "/m", "out": str(left), "bits": 4, "granularity": "adaptive",
        "model_id": "me/demo", "revision": "abc",
    }  # fmt: skip
    assert run.line(NOW) == "r0002  demo → int4 adaptive · cancelled 5 min ago · 0 files kept"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "just now"), (59, "just now"), (60, "1 min ago"), (7300, "2 h ago"), (90_000, "1 day ago"),
     (200_000, "2 days ago")],
)  # fmt: skip
def test_how_long_ago(seconds, words):
    assert ago(seconds) == words


def test_the_title_of_a_model_in_a_folder_is_its_last_part():
    run = Unfinished("r1", "/models/mine/", "failed", NOW, 1, {"out": "/o", "bits": 3})
    assert run.title == "mine → int3 adaptive"
    assert run.line(NOW).endswith("1 file kept")
