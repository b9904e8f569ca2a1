"""The machine itself: processes held still, clocks that jump, memory that ends, two operators at once."""

import os
import signal
import sqlite3
import threading
from dataclasses import replace

import pytest

from tests.faults.conftest import only_in_full, some
from tests.faults.operator import Operator, kill


@pytest.mark.slow
@pytest.mark.parametrize("at", some([10, 2, 40, 90], 1))
def test_a_worker_held_still_goes_on_as_if_nothing_was(quantizing, at):
    def react(events):
        if len(events) == at:
            worker = events[0]["pid"]
            kill(worker, signal.SIGSTOP)
            threading.Timer(1.5, kill, (worker, signal.SIGCONT)).start()

    ended = quantizing.start("--events").on_event(react).wait()
    assert ended.code == 0, ended.err
    quantizing.require_done()


@only_in_full
@pytest.mark.slow
def test_a_worker_held_still_for_good_does_not_outlive_its_command(quantizing):
    command = quantizing.start("--events")

    def react(events):
        if len(events) == 5:
            kill(events[0]["pid"], signal.SIGSTOP)
            kill(command.process.pid, signal.SIGTERM)
            threading.Timer(0.5, kill, (command.process.pid, signal.SIGTERM)).start()  # once more: at once

    ended = command.on_event(react).wait()
    assert ended.code == 128 + signal.SIGTERM
    quantizing.operator.require_sound()
    assert [run["status"] for run in quantizing.operator.runs()] == ["cancelled"]


@pytest.mark.slow
@pytest.mark.parametrize("where", some(["fqconsole.jobs.worker", "fqconsole quantize"], 1))
def test_a_clock_that_jumps_changes_no_byte(quantizing, where):
    jump = {"call": "time.time", "at": 3, "how": "jump", "again": True}
    ended = quantizing.run(fault=jump, fault_in=where)
    assert ended.code == 0, ended.err
    quantizing.require_done()
    assert [run["status"] for run in quantizing.operator.runs()] == ["done"]


@pytest.mark.slow
def test_memory_that_ends_is_a_sentence_and_the_run_goes_on(quantizing):
    ended = quantizing.run(fault={"call": "os.preadv", "at": 4, "how": "memory"})
    quantizing.require_failed(ended, code=4)
    assert "memory" in ended.err
    assert quantizing.resume().code == 0
    quantizing.require_done()


@pytest.mark.slow
def test_of_two_commands_into_one_folder_the_second_is_refused(quantizing, tmp_path):
    second = []
    other = replace(quantizing, operator=Operator(tmp_path / "other"))

    def react(events):
        if events[-1]["type"] == "MatrixDone" and not second:
            worker = events[0]["pid"]
            kill(worker, signal.SIGSTOP)
            second.append(other.run())
            kill(worker, signal.SIGCONT)

    ended = quantizing.start("--events").on_event(react).wait()
    assert ended.code == 0, ended.err
    assert second[0].code == 2, second[0].err
    assert "Traceback" not in second[0].err
    quantizing.require_done()


@pytest.mark.slow
def test_several_commands_share_one_store(quantizing, tmp_path):
    commands = [quantizing.start(out=tmp_path / "made" / f"out{number}") for number in range(3)]
    for command in commands:
        command.begin()
    assert [command.wait().code for command in commands] == [0, 0, 0]
    quantizing.operator.require_sound()
    runs = quantizing.operator.runs()
    assert sorted(run["run_id"] for run in runs) == ["r0001", "r0002", "r0003"]
    assert {run["status"] for run in runs} == {"done"}


def made_store(operator):
    assert operator.run("runs", "list").code == 0
    return next(operator.home.rglob("runs.db"))


@only_in_full
@pytest.mark.slow
def test_a_store_that_another_program_holds_for_a_while_is_waited_for(quantizing):
    holder = sqlite3.connect(made_store(quantizing.operator), isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    threading.Timer(2.0, lambda: holder.execute("ROLLBACK")).start()
    ended = quantizing.run()
    assert ended.code == 0, ended.err
    quantizing.require_done()


@only_in_full
@pytest.mark.slow
def test_a_store_that_is_damaged_is_a_sentence_and_stays_as_it_is(quantizing):
    store = made_store(quantizing.operator)
    for beside in store.parent.glob("runs.db-*"):
        beside.unlink()
    store.write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    before = store.read_bytes()
    ended = quantizing.run()
    assert ended.code == 1
    assert "damaged" in ended.err
    assert "Traceback" not in ended.err
    assert store.read_bytes() == before
    assert not quantizing.out.exists()


@only_in_full
@pytest.mark.slow
def test_the_same_bytes_with_one_thread_and_with_two(quantizing, tmp_path):
    two = replace(quantizing, operator=Operator(tmp_path / "home", {"OMP_NUM_THREADS": "2"}))
    assert two.run().code == 0
    two.require_done()


@pytest.mark.slow
def test_the_likeliest_answer_is_the_same_at_every_run(operator, checkpoint):
    said = ("generate", checkpoint, "--prompt", "Once there was a brave girl", "--greedy", "--quiet")
    first, second = (operator.run(*said, "--max-new-tokens", "40") for _ in range(2))
    assert first.code == second.code == 0, first.err + second.err
    assert first.out == second.out
    assert len(first.out.split()) > 10
