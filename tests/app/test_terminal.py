"""The console in a real pseudo-terminal: however it ends, the terminal is in order, the code tells why."""

import os
import signal
import termios

import pytest

from tests.app.terminal import LEAVE_ALTERNATE_SCREEN, STOP_MOUSE, Terminal


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


@pytest.mark.slow
def test_the_five_steps_by_keys_on_the_built_in_model(terminal, home):
    """Models, fit, quantize, session, runs: Enter alone as far as the text, then 5; all of it real."""
    shown = terminal()
    shown.read_until(b"demo-outliers")
    shown.send(b"\r")
    shown.read_until(b"Every option at context")
    shown.read_until("✓ FITS".encode())
    shown.send(b"\r")
    shown.read_until("Press ⏎ to start.".encode())
    shown.send(b"\r")
    shown.read_until(b"to talk to it.", wait=120)
    shown.send(b"\r")
    shown.read_until(b"Ready.", wait=120)
    shown.send(b"\r")
    shown.read_until(b"decode", wait=120)
    shown.read_until(b"r0002", wait=120)
    shown.send(b"\x0f5")  # ctrl+o, then 5
    shown.read_until(b"r0001")
    shown.send(b"\x11")  # ctrl+q
    assert shown.ended() == 0
    assert list((home / "data" / "checkpoints").iterdir())
