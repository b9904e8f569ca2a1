"""The pipeline: everything is done once, devices share by their speed, what is under way is bounded."""

import threading

import pytest
import torch

from quantizer.pipeline import Pipeline

CPU = torch.device("cpu")
STAND_INS = (torch.device("cpu", 0), torch.device("cpu", 1))  # for two GPUs
PATIENCE = 20.0  # seconds until a test gives up


def lane(values, task=lambda value, device: (value, str(device))):
    def tasks():
        for value in values:
            yield lambda device, value=value: task(value, device)

    return tasks


def left_over() -> list[str]:
    words = ("reader", "worker", "afterwork")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(words)]


@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 50])
def test_every_task_of_every_lane_is_done_once(readers, depth):
    lanes = [lane(range(start, start + 20)) for start in (0, 100, 200, 300)]
    with Pipeline([*lanes, lane([])], (CPU, CPU, CPU), readers=readers, depth=depth) as pipeline:
        done = sorted(value for value, _ in pipeline.results())
    assert done == [start + step for start in (0, 100, 200, 300) for step in range(20)]
    assert left_over() == []


def test_devices_share_the_tasks_by_their_own_speed():
    """One device is stuck with its first task: the other one does all the rest, and both are used."""
    begun, others_done = threading.Event(), threading.Event()
    guard = threading.Lock()
    done: dict[str, list[int]] = {str(device): [] for device in STAND_INS}

    def work(value, device):
        if device == STAND_INS[0]:
            begun.set()
            assert others_done.wait(PATIENCE)
        assert begun.wait(PATIENCE)
        with guard:
            done[str(device)].append(value)
            if len(done[str(STAND_INS[1])]) == 29:
                others_done.set()
        return value

    with Pipeline([lane(range(30), work)], STAND_INS, readers=1, depth=4) as pipeline:
        assert sorted(pipeline.results()) == list(range(30))
    assert len(done["cpu:0"]) == 1
    assert len(done["cpu:1"]) == 29


def test_no_more_is_read_than_the_depth_while_nobody_takes_results():
    read = []
    full = threading.Event()

    def tasks():
        for value in range(100):
            read.append(value)
            if len(read) == 5:
                full.set()
            yield lambda _, value=value: value

    with Pipeline([tasks], (CPU, CPU), readers=1, depth=5) as pipeline:
        results = pipeline.results()
        assert full.wait(PATIENCE)
        taken = [next(results) for _ in range(10)]
        assert len(read) <= len(taken) + 5
        assert sorted([*taken, *results]) == list(range(100))


def test_afterwork_is_a_result_too_and_comes_before_the_end():
    with Pipeline([lane(range(3))], (CPU,), readers=1, depth=2) as pipeline:
        seen = []
        for result in pipeline.results():
            seen.append(result)
            if result == (2, "cpu"):
                pipeline.later(lambda: "synced")
    assert seen[-1] == "synced"
    assert len(seen) == 4


@pytest.mark.parametrize("place", ["reading", "working", "afterwork"])
def test_what_fails_anywhere_is_raised_where_the_results_are_taken(place):
    def fail(*_):
        raise LookupError(place)

    def reading():
        yield lambda _: 1
        fail()

    lanes = [reading if place == "reading" else lane(range(9), fail if place == "working" else int_of)]
    pipeline = Pipeline(lanes, (CPU, CPU), readers=1, depth=3)
    with pytest.raises(LookupError, match=place), pipeline:
        for _ in pipeline.results():
            if place == "afterwork":
                pipeline.later(fail)
    assert left_over() == []


def int_of(value, _):
    return value


def test_whoever_leaves_early_leaves_no_thread_and_hears_what_was_still_done():
    closed = []

    def tasks():
        try:
            for value in range(1000):
                yield lambda _, value=value: value
        finally:
            closed.append(True)

    with Pipeline([tasks], (CPU, CPU), readers=1, depth=6) as pipeline:
        first = next(pipeline.results())
        left = pipeline.stop()
    assert closed == [True]
    assert left_over() == []
    assert len({first, *left}) == 1 + len(left) <= 8
