"""Every screen in every state, at three sizes and in two themes, as text in `__snapshots__/test_gallery`.

Make them again with `pytest tests/app/test_gallery.py --snapshot-update`, and read them before committing.
With `GALLERY=folder` each picture is also written there as SVG, in colours, to be looked at.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.notifications import Notification

from tests.app.gallery import everywhere, fit, gpus, models, picture, quantize, runs, session
from tests.app.gallery.state import Place

THEMES = ("fqconsole", "light")
STORED = Path(__file__).parent / "__snapshots__" / "test_gallery"
TRIES = 3
SNAPSHOT_PYTHON = (3, 11)  # another version may lay out a cell differently
ROOMS = (models, fit, quantize, session, runs, gpus, everywhere)
STATES = [state for room in ROOMS for state in room.STATES]


class TextPicture(SingleFileSnapshotExtension):
    """One text file for a state, which a person can read and a diff can show."""

    _file_extension = "txt"
    _write_mode = WriteMode.TEXT


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """A note stays until its last picture is taken, however slow the machine; what is drawn by lot is set."""
    monkeypatch.setattr(Notification, "time_left", property(lambda _self: 3600.0))
    monkeypatch.setattr(Notification, "has_expired", property(lambda _self: False))
    monkeypatch.setenv("FQCONSOLE_HOME", "/proc/home")  # the same words in every run, and nothing is kept
    monkeypatch.setattr("secrets.choice", lambda sides: sides[0])


def test_every_state_has_a_name_of_its_own():
    assert len({state.name for state in STATES}) == len(STATES)


@pytest.mark.skipif(sys.version_info[:2] != SNAPSHOT_PYTHON, reason="the pictures are made on Python 3.11")
@pytest.mark.parametrize("state", STATES, ids=[state.name for state in STATES])
async def test_gallery(snapshot, state, tmp_path):
    """A machine that does other things too may catch a graph or a layout between two steps: three tries."""
    stored = STORED / f"test_gallery[{state.name}].txt"
    for attempt in range(TRIES):
        place = tmp_path / str(attempt)
        place.mkdir()
        text = await pictures(state, place)
        if stored.is_file() and text == stored.read_text():
            break
    assert text == snapshot.use_extension(TextPicture)


async def pictures(state, place):
    """The state at all its sizes, as one text."""
    with ExitStack() as ends:
        app, steps = state.build(Place(place, ends))
        sizes = []
        async with app.run_test(size=state.sizes[0], notifications=True) as pilot:
            await state.reach(pilot, steps)
            order = THEMES
            for size in state.sizes:
                if app.size != size:
                    await pilot.resize_terminal(*size)
                    await state.rest(pilot)
                shown = {}
                for theme in order:
                    app.theme = theme
                    await pilot.wait_for_scheduled_animations()
                    await state.rest(pilot)
                    shown[theme] = picture.cells(app)
                    keep_svg(app, f"{state.name}-{size[0]}x{size[1]}-{theme}")
                order = tuple(reversed(order))  # the theme that is there is not changed twice
                sizes.append(picture.written(size, THEMES, [shown[theme] for theme in THEMES]))
            ends.close()
    return "\n".join(sizes)


def keep_svg(app, name):
    if folder := os.environ.get("GALLERY"):
        Path(folder, f"{name}.svg").write_text(app.export_screenshot())
