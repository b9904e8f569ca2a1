"""A console in a real terminal while a job runs: whoever is killed, nobody is left and the run is told."""

import os
import signal
import termios
import time

import psutil
import pytest

from fqconsole.cli.run_store import open_store
from tests.app.terminal import LEAVE_ALTERNATE_SCREEN, STOP_MOUSE, Terminal
from tests.jobs.conftest import ends_within

ENTER = b"\r"
GONE_WITHIN = 15.0  # seconds; it takes a fraction of one, but not on a machine with much else to do
WAIT = 60.0


@pytest.fixture
def console():
    """A console that has just started to quantize the built-in model, and its worker."""
    shown = Terminal()
    shown.wait_for("demo-outliers")
    shown.send(ENTER)
    shown.wait_for("✓ FITS")
    shown.send(ENTER)
    shown.wait_for("Ready · demo")
    shown.wait_for("free there")  # the estimate is there: Enter starts
    shown.send(ENTER)
    yield shown
    shown.close()


def worker_of(shown):
    """The worker of a console, as soon as there is one."""
    deadline = time.monotonic() + WAIT
    parent = psutil.Process(shown.process.pid)
    while time.monotonic() < deadline:
        shown._read(0.05)
        for child in parent.children():
            if "fqconsole.jobs.worker" in child.cmdline():
                return child
    raise AssertionError(f"no worker was started:\n{shown.text}")


def statuses():
    with open_store() as store:
        return {row.run_id: row.status for row in store.list_runs()}


@pytest.mark.slow
def test_a_killed_worker_is_a_sentence_and_a_killed_console_leaves_no_worker(console):
    first = worker_of(console)
    first.kill()
    console.wait_for("SIGKILL", WAIT)
    assert statuses() == {"r0001": "failed"}

    console.resize(5, 20)
    console.wait_for("fqconsole needs", WAIT)
    console.resize(24, 80)
    console.wait_for("SIGKILL", WAIT)
    console.send(ENTER)
    second = worker_of(console)
    assert second.pid != first.pid

    os.kill(console.process.pid, signal.SIGKILL)
    assert ends_within(second.pid, GONE_WITHIN)
    console.process.wait(WAIT)
    assert statuses() == {"r0001": "failed", "r0002": "interrupted"}


@pytest.mark.slow
def test_terminated_it_ends_its_worker_records_the_run_and_puts_the_terminal_right(console):
    worker = worker_of(console)
    console.send(b"\x03")  # the key Ctrl-C ends nothing, and says what does
    console.wait_for("to quit", WAIT)
    assert console.process.poll() is None and worker.is_running()
    os.kill(console.process.pid, signal.SIGTERM)
    assert console.ended() == 143
    assert ends_within(worker.pid, GONE_WITHIN)
    assert LEAVE_ALTERNATE_SCREEN in console.output and STOP_MOUSE in console.output
    assert termios.tcgetattr(console.slave) == console.before
    assert statuses() == {"r0001": "cancelled"}


def spare_of(shown):
    """The console's spare worker, as soon as there is one; it can't be told from a session's by its name."""
    worker = worker_of(shown)
    assert worker.cmdline()[-2:] == ["--ready", "session"]
    return worker


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_spare_worker_waits_and_is_gone_with_its_console(number):
    shown = Terminal(spare=True)
    try:
        shown.wait_for("demo-outliers")
        spare = spare_of(shown)
        os.kill(shown.process.pid, number)
        assert ends_within(spare.pid, GONE_WITHIN)
        shown.process.wait(WAIT)
        assert statuses() == {}
    finally:
        shown.close()


@pytest.mark.slow
def test_the_spare_worker_is_the_one_that_loads_the_model():
    shown = Terminal(spare=True)
    try:
        shown.wait_for("demo-outliers")
        spare = spare_of(shown)
        shown.send(ENTER)
        shown.wait_for("✓ FITS")
        shown.send(b"t")
        shown.wait_for("Ready", WAIT)
        assert worker_of(shown).pid == spare.pid
    finally:
        shown.close()
