"""What stderr says: a changing line on a terminal, few lines in a log, nothing when quiet."""

import io
import sys

import pytest

from fqconsole.cli.narration import CLEAR_LINE, PLAIN_PERIOD, Narrator
from fqconsole.cli.output import Output
from fqconsole.jobs.messages import LogLine, MatrixDone, PhaseStarted, Progress, SessionReady


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(params=[True, False], ids=["terminal", "log"])
def live(request):
    """Whether stderr is a terminal."""
    return request.param


@pytest.fixture
def told(monkeypatch, live):
    """`told([times], *events)` is what stderr got."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")

    def tell(clock, *events, quiet=False):
        # Not before: pytest puts its own stderr in place between a fixture and its test.
        stream = Terminal() if live else io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        times = iter(clock)
        narrator = Narrator(Output(quiet=quiet), clock=lambda: next(times))
        for event in events:
            narrator.feed(event)
        narrator.close()
        return stream.getvalue()

    return tell


def progress(done: float, note: str = "model.layers.0.mlp") -> Progress:
    return Progress(t=0.0, phase="quantize", done=done, total=2e6, rate=5e5, eta_seconds=2.0, note=note)


def test_a_log_gets_a_line_now_and_then(told, live):
    start = PhaseStarted(t=0.0, phase="quantize", total=2e6, unit="B")
    text = told([0, 1, PLAIN_PERIOD + 1], start, progress(5e5), progress(1e6))
    if live:
        assert text.count(CLEAR_LINE) == 3  # two states of the line, and its end
        assert "\n" not in text
    else:
        assert text.splitlines()[0] == "quantize: 1.9 MiB"
        assert len(text.splitlines()) == 2
        assert "50%" in text
        assert "\x1b" not in text


def test_the_line_never_wraps_and_holds_no_control_character(told, live):
    text = told([100], progress(1e6, note="a\x1b[2Jb" + "千问" * 40))
    assert "\x1b[2J" not in text
    if live:
        line = text.removeprefix(CLEAR_LINE).removesuffix(CLEAR_LINE)
        assert line.endswith("…")
        assert sum(2 if character in "千问" else 1 for character in line) < 60


def test_matrices_are_counted(told):
    done = MatrixDone(
        t=0.0,
        run_id="r0001",
        index=2,
        count=8,
        name="m",
        layer=0,
        kind="q_proj",
        shape=(4, 4),
        bits=4,
        group_size=None,
        statistic={},
        relative_error=0.1,
        bytes=10,
        seconds=0.1,
        reason="",
    )
    assert "3/8 matrices" in told([100], done, progress(1e6))


def test_what_stays_is_said_on_a_line_of_its_own(told):
    ready = SessionReady(
        t=0.0,
        model_path="/m",
        precision="int4",
        device="cpu",
        context=1024,
        has_chat_template=False,
        load_seconds=1.2,
        weights_bytes=2**22,
        path="cpu int4 op",
    )
    warning = LogLine(t=0.0, level="warning", text="A shard is damaged.")
    text = told([100], progress(1e6), ready, warning)
    assert "loaded in 1.2 s: int4 on cpu (cpu int4 op), 4.0 MiB, context 1024\n" in text
    assert text.endswith("warning: A shard is damaged.\n")


def test_quiet_says_nothing(told):
    assert told([100], progress(1e6), LogLine(t=0.0, level="info", text="x"), quiet=True) == ""
