"""What an ended run keeps of its GPU readings, and what pruning takes."""

import itertools

import pytest

from store import FilterError
from store.retention import MOST_KEPT
from tests.store.conftest import T

DAY = 86400


def readings(store, run, count, *, gpus=1, start=T):
    store.add_gpu_samples(
        run,
        [
            {"t": start + place / 2, "gpu": gpu, "util": float(place)}
            for place in range(count)
            for gpu in range(gpus)
        ],
    )


def test_a_run_that_ends_keeps_its_readings_evenly_thinned(store, add):
    run = add(end=None)
    readings(store, run, 5000, gpus=2)
    store.finish_run(run, "done", ended=T + 2500)
    kept = store.gpu_samples(run, most=10_000)
    times = [sample.t for sample in kept if sample.gpu == 0]
    assert len(kept) == 2 * len(times)
    assert MOST_KEPT / 2 < len(times) <= MOST_KEPT
    assert times[0] == T and times[-1] > T + 2490
    assert len({round(b - a, 6) for a, b in itertools.pairwise(times)}) == 1


def test_few_readings_stay_as_they_are_also_when_it_ends_twice(store, add):
    run = add(end=None)
    readings(store, run, MOST_KEPT)
    store.finish_run(run, "done", ended=T)
    store.finish_run(run, "failed", ended=T)
    assert len(store.gpu_samples(run, most=10_000)) == MOST_KEPT


def test_a_lost_run_is_thinned_too(store, add):
    run = add(end=None)
    readings(store, run, 2000)
    store.mark_interrupted(lambda _pid, _started: False)
    assert len(store.gpu_samples(run, most=10_000)) <= MOST_KEPT


@pytest.fixture
def aged(store, add):
    """An old answer, an old one that is tagged, and one of today."""
    runs = [
        add("generate", prompt=f"Why {name}?", output=f"So {name}.", started=started, end=None, tags=tags)
        for name, started, tags in (
            ("old", T - 60 * DAY, ()),
            ("kept", T - 60 * DAY, ["demo"]),
            ("new", T, ()),
        )
    ]
    for run in runs:
        readings(store, run, 10)
        store.add_metrics(run, {"decode_tok_s": 100.0})
        store.finish_run(run, "done", ended=T)
    return runs


def test_old_readings_go_and_numbers_and_texts_stay(store, aged):
    old = aged[0]
    pruned = store.prune("30d", now=T + 1)
    assert (pruned.samples, pruned.texts) == (10, 0)
    assert [len(store.gpu_samples(run)) for run in aged] == [0, 10, 10]
    assert store.run(old).generation.output == "So old."
    assert store.run(old).row.decode_tok_s == 100.0
    assert store.prune("30d", now=T + 1).samples == 0


def test_old_texts_go_where_asked_and_are_found_no_more(store, aged):
    old, kept, new = aged
    assert store.prune(None, "30d", now=T + 1).texts == 1
    assert store.run(old).generation.output is None
    assert [row.run_id for row in store.list_runs('"so"')] == [new, kept]
    assert store.run(old).generation.sampling == {"temperature": 0.0}


def test_a_dry_run_only_counts(store, aged):
    pruned = store.prune("30d", "30d", now=T + 1, dry=True)
    assert (pruned.samples, pruned.texts) == (10, 1)
    assert pruned.bytes_before == pruned.bytes_after > 0
    assert len(store.gpu_samples(aged[0])) == 10


def test_the_file_gets_smaller(store, add):
    for place in range(30):
        run = add("generate", prompt="x" * 20_000 + str(place), output="y", started=T - 60 * DAY)
    pruned = store.prune(None, "30d", now=T)
    assert pruned.bytes_after < pruned.bytes_before / 2
    assert store.run(run).row.status == "done"


@pytest.mark.parametrize("age", ["soon", "30", "1.2.3d", ""])
def test_what_is_no_age_is_a_sentence(store, age):
    with pytest.raises(FilterError, match="is no age"):
        store.prune(age)
