"""Killed at any moment: the worker, the command, both. Nothing runs on, and nothing is lost."""

import signal
from itertools import product

import pytest

from tests.faults.conftest import some
from tests.faults.operator import kill

# A fast quantize of four shards tells about 70 events: points from the first of them to the last.
POINTS = [1, 2, 3, 5, 7, 8, 9, 10, 13, 17, 22, 28, 35, 43, 52, 60, 66]
WHO = ["worker", "command", "both"]
SLOWLY = {"call": "os.pwrite", "at": 1, "how": "slow", "again": True}


def victim(who, at, command):
    """Kills `who` once `at` events have been told; the worker's pid stands in its first event."""

    def react(events):
        if len(events) != at:
            return
        worker = events[0]["pid"]
        if who in {"worker", "both"}:
            kill(worker)
        if who in {"command", "both"}:
            kill(command.process.pid)

    return react


@pytest.mark.slow
@pytest.mark.parametrize(("at", "who"), some(product(POINTS, WHO), 3))
def test_a_killed_quantize_goes_on_to_the_same_bytes(quantizing, who, at):
    command = quantizing.start("--events", fault=SLOWLY)
    ended = command.on_event(victim(who, at, command)).wait()
    quantizing.operator.require_sound()
    if ended.code != 0:  # else it had ended before it was killed
        expected = {"worker": 1, "command": -signal.SIGKILL, "both": -signal.SIGKILL}
        assert ended.code == expected[who]
        (run,) = quantizing.operator.runs()
        assert run["status"] in {"failed", "interrupted", "done"}
        if who == "worker":
            assert "was ended by SIGKILL" in ended.err + ended.out
        if not quantizing.out.exists():
            again = quantizing.resume()
            assert again.code == 0, again.err
    quantizing.require_done()


@pytest.mark.slow
@pytest.mark.parametrize(("at", "who"), some(product([4, 1, 2, 7], WHO), 1))
def test_a_killed_evaluation_is_told_and_can_be_done_again(operator, checkpoint, model, who, at):
    said = ["evaluate", checkpoint, "--reference", model, "--max-tokens", "1024"]
    command = operator.start(*said, "--events", "--quiet")
    ended = command.on_event(victim(who, at, command)).wait()
    operator.require_sound()
    assert ended.code != 0
    (run,) = operator.runs()
    assert run["status"] in {"failed", "interrupted"}
    again = operator.run(*said, "--quiet")
    assert again.code == 0, again.err


@pytest.mark.slow
@pytest.mark.parametrize(("at", "who"), some(product([4, 1, 2, 8], WHO[::-1]), 1))
def test_a_killed_answer_is_told_and_can_be_given_again(operator, checkpoint, who, at):
    said = ["generate", checkpoint, "--prompt", "Once there was", "--max-new-tokens", "400", "--seed", "1"]
    command = operator.start(*said, "--events", "--quiet")
    command.on_event(victim(who, at, command)).wait()
    operator.require_sound()
    run = operator.runs()[0]
    assert run["status"] in {"failed", "interrupted", "done"}
    again = operator.run(*said, "--quiet")
    assert again.code == 0, again.err


@pytest.mark.slow
@pytest.mark.parametrize("number", some([signal.SIGHUP, signal.SIGTERM, signal.SIGINT], 1))
def test_a_signal_ends_a_quantize_in_order_and_it_goes_on(quantizing, number):
    command = quantizing.start("--events", fault=SLOWLY)

    def react(events):
        if len(events) == 20:
            kill(command.process.pid, number)

    ended = command.on_event(react).wait()
    assert ended.code == 128 + number
    quantizing.operator.require_sound()
    (run,) = quantizing.operator.runs()
    assert run["status"] == "cancelled"
    assert quantizing.resume().code == 0
    quantizing.require_done()
