"""--ascii: whatever is on the screen, our own signs are ASCII, and the lines are as wide as before."""

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color

from fqconsole.app.ascii_filter import TABLE, AsciiFilter, in_ascii
from fqconsole.app.console import FqConsole
from fqconsole.settings import Screen, Settings
from tests.app.conftest import settled
from tests.app.fake_plan import quantize_events
from tests.app.fakes import DEMO, QWEN, FakeGpu, FakeGpus, FakeJob, JobScripts, entry, fake_services

BUSY = FakeGpus((FakeGpu(0, utilization=97.0, throttle=("power cap",)), FakeGpu(1)))


def lines(app):
    return [strip.text for strip in app.screen._compositor.render_strips()]


def console(**changes):
    services = fake_services(
        entries=[entry(DEMO), entry(QWEN)],
        gpus=BUSY,
        jobs=JobScripts(quantize=FakeJob(quantize_events(DEMO), hold=40)),
        **changes,
    )
    return FqConsole(services, Settings(screen=Screen(ascii=True, reduced_motion=True)))


WAYS = {
    "models": (),
    "fit": ("2",),
    "fit of a model": ("enter",),
    "quantize": ("enter", "enter"),
    "a job": ("enter", "enter", "enter"),
    "the question": ("enter", "enter", "enter", "x"),
    "session": ("4",),
    "runs": ("5",),
    "gpus": ("6",),
    "help": ("f1",),
    "jump": ("ctrl+o",),
    "log": ("f8",),
    "settings": ("f9",),
    "palette": ("ctrl+p",),
    "presenter": ("enter", "enter", "enter", "P"),
}


@pytest.mark.parametrize("keys", WAYS.values(), ids=WAYS.keys())
async def test_every_screen_is_seven_bit(keys):
    app = console()
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await settled(pilot)
        shown = lines(app)
        assert any(line.strip() for line in shown)
        strange = {sign for line in shown for sign in line if not sign.isascii()}
        assert not strange, [line for line in shown if not line.isascii()]
        assert {cell_len(line) for line in shown} == {100}


async def test_a_too_small_terminal_is_told_so_in_ascii():
    async with console().run_test(size=(60, 20)) as pilot:
        await settled(pilot)
        assert "needs 80x24 cells" in "\n".join(lines(pilot.app))


def test_the_operators_own_script_is_left_alone():
    assert in_ascii("千问 é 🙂 ✓") == "千问 é 🙂 +"


def test_every_sign_becomes_one_character_of_one_cell():
    assert all(len(plain) == 1 and plain.isascii() and plain.isprintable() for plain in TABLE.values())
    assert all(cell_len(chr(code)) == 1 for code in TABLE)


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (["│Press ⏎ to start.      │"], "|Press Enter to start.  |"),
        (["⏎ plan  q quit", "          "], "Enter plan  q quit      "),
        (["⏎ plan  ", "⏎ go", "     "], "Enter plan  < go "),
        (["│choose ⏎│"], "|choose <|"),
    ],
)
def test_the_return_sign_is_spelled_out_where_there_is_room(texts, shown):
    found = AsciiFilter().apply([Segment(text) for text in texts], Color(0, 0, 0))
    assert "".join(segment.text for segment in found) == shown
    assert len(shown) == sum(map(len, texts))
