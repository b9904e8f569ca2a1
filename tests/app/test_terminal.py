"""The console in a real pseudo-terminal: however it ends, the terminal is in order, the code tells why."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import termios

import pytest

from tests.app.terminal import LEAVE_ALTERNATE_SCREEN, OPEN, STOP_MOUSE, Terminal

ENTER, CTRL_O, CTRL_Q = b"\r", b"\x0f", b"\x11"
LONG = 120.0  # seconds for a step that loads torch on a machine that does other things too


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


@pytest.mark.slow
def test_held_still_and_let_go_it_still_ends(terminal):
    shown = terminal()
    shown.read_until(b"demo-outliers")
    for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGCONT):
        os.kill(shown.process.pid, number)
    shown.send(b"2")
    shown.wait_for("[2 Fit]")
    shown.send(b"q")
    assert shown.ended() == 0


@pytest.mark.slow
def test_it_ends_when_its_terminal_is_gone_though_no_signal_told_it(terminal):
    shown = terminal()
    shown.read_until(b"demo-outliers")
    os.close(shown.master)
    assert shown.process.wait(timeout=30) == 129
    shown.master = os.open(os.devnull, os.O_RDONLY)


def test_it_refuses_to_draw_where_stderr_is_no_terminal(terminal, tmp_path):
    with (tmp_path / "log").open("wb") as log:
        shown = terminal(stderr=log)
        assert shown.ended() == 2
    assert b"draws on stderr, which is not a terminal" in shown.output
    assert (tmp_path / "log").read_bytes() == b""


@pytest.fixture
def in_tmux(tmp_path):
    """The command that opens a console in a tmux of its own, or without tmux in the terminal itself;
    the console's exit code is kept in `code`.
    """
    here = ["tmux", "-S", str(tmp_path / "tmux"), "-f", str(tmp_path / "tmux.conf")]
    (tmp_path / "tmux.conf").write_text("set -g status off\n")
    console = f"{shlex.quote(sys.executable)} -c {shlex.quote(OPEN)}; echo $? > {tmp_path / 'code'}"
    if shutil.which("tmux") is None:
        yield ["sh", "-c", console]
        return
    yield [*here, "new-session", console]
    subprocess.run([*here, "kill-server"], capture_output=True, check=False)


@pytest.mark.slow
def test_the_five_steps_by_keys_on_the_built_in_model_in_tmux(terminal, in_tmux, tmp_path, home):
    """Models, fit, quantize, session, runs: Enter alone as far as text and comparison; all of it real."""
    shown = terminal(command=in_tmux)
    shown.wait_for("demo-outliers")
    shown.send(ENTER)
    shown.wait_for("✓ FITS")
    shown.send(ENTER)
    shown.wait_for("free there")  # what the job will take is told before it starts
    shown.send(ENTER)
    shown.wait_for("to talk to it.", wait=LONG)
    shown.send(ENTER)
    assert "[4 Session]" in shown.wait_for("Once there was a brave girl named Mira.")
    shown.send(ENTER)  # waits for the model, should that not be loaded yet
    talked = shown.wait_for("kept as r0002", wait=LONG)
    assert "TTFT" in talked and "decode" in talked
    story = " ".join(line.strip("│ \n") for line in talked.splitlines()[3:13])
    assert len(story.split()) > 40, talked
    compared = shown.wait_for("r0003 · ", wait=LONG)
    assert re.search(
        r"lost +perplexity \d\.\d+ → \d\.\d+ .* KL 0\.\d+ .* same top token \d\d\.\d %", compared
    )
    assert "times smaller" in compared

    shown.send(CTRL_O + b"5")
    listed = shown.wait_for("r0001").splitlines()
    kinds = {
        words[0]: words[2:] for line in listed if (words := line.strip("│▌ ").split()) and "r000" in words[0]
    }
    assert kinds["r0001"][0] == "quantize" and kinds["r0002"][0] == "generate", listed
    assert kinds["r0003"][0] == "evaluate" and all(words[-1] == "done" for words in kinds.values()), listed
    shown.send(CTRL_Q)
    assert shown.ended() == 0
    assert (tmp_path / "code").read_text() == "0\n"
    assert list((home / "data" / "checkpoints").iterdir())
