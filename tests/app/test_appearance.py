"""The console as the settings ask for it: theme, motion, colours, defaults of the work."""

import pytest
from textual.color import Color

from fqconsole.app.appearance import next_theme
from fqconsole.app.console import FqConsole
from fqconsole.app.theme import THEMES
from fqconsole.app.widgets.prompt_field import PromptField
from fqconsole.app.workspace import SessionChoice
from fqconsole.settings import Quantize, Screen, Session, Settings, ThemeName
from tests.app.conftest import settled
from tests.app.fakes import fake_services

TEXTS = ("foreground", "primary", "accent", "success", "warning", "error")


def text(app):
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def test_the_settings_know_the_themes_by_name():
    assert [theme.name for theme in THEMES] == list(ThemeName.__args__)
    seen = [THEMES[0].name]
    while (following := next_theme(seen[-1])) != seen[0]:
        seen.append(following)
    assert len(seen) == len(THEMES)
    assert next_theme("textual-dark") == THEMES[0].name


def brightness(colour):
    """Relative luminance, as WCAG 2.2 defines it."""
    parts = [part / 255 for part in (colour.r, colour.g, colour.b)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, bright = sorted((brightness(one), brightness(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES, ids=[theme.name for theme in THEMES])
def test_every_text_can_be_read_on_every_ground(theme):
    """WCAG asks 4.5 to 1 of text; the theme for projectors has 7 to 1. Quiet text is 60 % of the colour."""
    least = 7.0 if theme.name == "contrast" else 4.5
    for ground in (Color.parse(theme.background), Color.parse(theme.surface)):
        texts = {name: Color.parse(getattr(theme, name)) for name in TEXTS}
        texts["quiet"] = ground.blend(texts["foreground"], 0.6)
        for name, text_colour in texts.items():
            assert contrast(text_colour, ground) >= least, name


@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
async def test_each_theme_can_be_chosen_and_left(theme):
    app = FqConsole(fake_services(), Settings(screen=Screen(theme=theme)))
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.theme == theme
        app.action_theme()
        await settled(pilot)
        assert app.theme == next_theme(theme)


@pytest.mark.parametrize("reduced", [True, False])
async def test_reduced_motion_holds_animations_and_cursors_still(reduced):
    app = FqConsole(fake_services(), Settings(screen=Screen(reduced_motion=reduced)))
    async with app.run_test(size=(80, 24)) as pilot:
        app.show("session")
        await settled(pilot)
        field = app.screen.query_one(PromptField)
        field.disabled = False
        field.focus()
        await settled(pilot)
        assert field.cursor_blink is not reduced
        assert (app.animation_level == "none") is reduced


async def test_without_colours_the_same_signs_and_words_stand_there(monkeypatch):
    shown = []
    for colours in (True, False):
        if not colours:
            monkeypatch.setenv("NO_COLOR", "1")
        app = FqConsole(fake_services())
        assert app.no_color is not colours
        async with app.run_test(size=(100, 30)) as pilot:
            await settled(pilot)
            shown.append(text(app))
            grey = {
                segment.style.color.triplet
                for strip in app.screen._compositor.render_strips()
                for segment in strip
                if segment.style and segment.style.color and segment.style.color.triplet
            }
        if not colours:
            assert all(red == green == blue for red, green, blue in grey)
    assert shown[0].splitlines()[:10] == shown[1].splitlines()[:10]
    assert "✓" in shown[0] and "[1 Models]" in shown[0]


async def test_bits_and_sampling_begin_as_the_settings_say():
    settings = Settings(quantize=Quantize(bits=3), session=Session(temperature=0.2, max_new_tokens=99))
    app = FqConsole(fake_services(), settings)
    async with app.run_test(size=(100, 30)) as pilot:
        assert app.workspace.choice.bits == 3
        app.workspace.session = SessionChoice(path="/m", model_id="m", label="m int4")
        app.show("session")
        await settled(pilot)
        assert "temp 0.2" in text(app) and "max 99" in text(app)


async def test_f9_tells_every_setting_and_where_it_comes_from(monkeypatch):
    monkeypatch.setenv("FQCONSOLE_SCREEN_THEME", "light")
    app = FqConsole(fake_services())
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await pilot.press("f9")
        await settled(pilot)
        shown = text(app)
        assert 'screen.theme            "light"  (FQCONSOLE_SCREEN_THEME)' in shown
        assert "runs.store" in shown and "(default)" in shown
        assert "`fqconsole config init` writes" in shown
