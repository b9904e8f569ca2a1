"""Blind votes: kept with both runs, counted for a pair of models however they were shown."""

import pytest

from store import Store, StoreError, Tally, UnknownRunError


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "runs.db") as opened:
        yield opened


def answer(store, path, model="demo"):
    return store.begin_run("generate", model, path=path, options={}, host={}, pid=1, pid_started=0.0)


def test_each_run_of_the_pair_knows_its_own_side(store):
    small, large = answer(store, "/int4"), answer(store, "/16")
    store.add_vote(large, small, "second", voted=5.0)
    (mine,), (its,) = store.run(small).votes, store.run(large).votes
    assert (mine.other, mine.shown_as, mine.outcome, mine.voted) == (large, "Y", "better", 5.0)
    assert (its.other, its.shown_as, its.outcome) == (small, "X", "worse")
    assert mine.words == "better than r0002 (blind, shown as Y)"
    assert its.words == "worse than r0001 (blind, shown as X)"


def test_a_pair_is_counted_in_either_order_and_others_are_not(store):
    votes = [("/int4", "/16", "first"), ("/16", "/int4", "first"), ("/16", "/int4", "second"),
             ("/16", "/int4", "tie"), ("/int4", "/16", "neither"), ("/int4", "/int3", "first")]  # fmt: skip
    for first, second, choice in votes:
        store.add_vote(answer(store, first), answer(store, second), choice)
    assert store.tally("/int4", "/16") == Tally(first=2, second=1, tie=1, neither=1)
    assert store.tally("/16", "/int4") == Tally(first=1, second=2, tie=1, neither=1)
    assert store.tally("/int4", "/nowhere").votes == 0


def test_a_model_without_a_folder_counts_by_its_name(store):
    store.add_vote(answer(store, None, "far"), answer(store, "/int4"), "tie")
    assert store.tally("/int4", "far").tie == 1


def test_voting_again_replaces_and_deleting_a_run_takes_its_votes(store):
    first, second = answer(store, "/int4"), answer(store, "/16")
    store.add_vote(first, second, "tie")
    store.add_vote(first, second, "first")
    assert [vote.outcome for vote in store.run(first).votes] == ["better"]
    store.finish_run(second, "done")
    store.delete_run(second)
    assert store.run(first).votes == ()


def test_what_is_no_vote_is_refused(store):
    run = answer(store, "/int4")
    with pytest.raises(StoreError, match="no vote"):
        store.add_vote(run, answer(store, "/16"), "best")
    with pytest.raises(StoreError, match="two runs"):
        store.add_vote(run, run, "tie")
    with pytest.raises(UnknownRunError):
        store.add_vote(run, "r0099", "tie")
