"""The console in a real pseudo-terminal: however it ends, the terminal is in order, the code tells why."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

OPEN = "import sys; from fqconsole.app import run_console; sys.exit(run_console())"
LEAVE_ALTERNATE_SCREEN = b"\x1b[?1049l"
STOP_MOUSE = b"\x1b[?1000l"
WAIT = 30.0  # seconds; a loaded machine is slow, a broken console never answers


class Terminal:
    """A console process whose three streams are one pseudo-terminal of 24 lines and 80 columns."""

    def __init__(self, *, stderr=None):
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [sys.executable, "-c", OPEN],
            stdin=slave,
            stdout=slave,
            stderr=stderr or slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        self.slave = slave
        self.output = b""

    def read_until(self, words: bytes) -> None:
        deadline = time.monotonic() + WAIT
        while words not in self.output:
            ready, _, _ = select.select([self.master], [], [], 0.2)
            if ready:
                self.output += os.read(self.master, 65536)
            assert time.monotonic() < deadline, self.output[-2000:]

    def send(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def ended(self) -> int:
        """The exit code; reads on meanwhile, because a full pseudo-terminal would hold the process up."""
        deadline = time.monotonic() + WAIT
        while self.process.poll() is None:
            ready, _, _ = select.select([self.master], [], [], 0.05)
            if ready:
                self.output += os.read(self.master, 65536)
            assert time.monotonic() < deadline
        while select.select([self.master], [], [], 0.1)[0]:
            self.output += os.read(self.master, 65536)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    opened = []

    def start(**options):
        opened.append(Terminal(**options))
        return opened[-1]

    yield start
    for item in opened:
        item.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)],
    ids=["TERM", "HUP", "INT"],
)
def test_a_signal_ends_it_with_its_code_and_the_terminal_in_order(terminal, number, code):
    shown = terminal()
    shown.read_until(b"demo-outliers")
    os.kill(shown.process.pid, number)
    assert shown.ended() == code
    assert LEAVE_ALTERNATE_SCREEN in shown.output
    assert STOP_MOUSE in shown.output
    assert termios.tcgetattr(shown.slave) == shown.before


@pytest.mark.slow
def test_the_key_q_ends_it_with_zero(terminal):
    shown = terminal()
    shown.read_until(b"demo-outliers")
    shown.send(b"q")
    assert shown.ended() == 0
    assert LEAVE_ALTERNATE_SCREEN in shown.output


def test_it_refuses_to_draw_where_stderr_is_no_terminal(terminal, tmp_path):
    with (tmp_path / "log").open("wb") as log:
        shown = terminal(stderr=log)
        assert shown.ended() == 2
    assert b"draws on stderr, which is not a terminal" in shown.output
    assert (tmp_path / "log").read_bytes() == b""
