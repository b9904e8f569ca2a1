"""Numbers as the console writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fqconsole.app import formatting
from fqconsole.app.widgets.bars import filled, level_line, steps

GIB = 2**30


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "—"),
        (0, "0.0"),
        (int(0.6 * GIB), "0.6"),
        (int(79.6 * GIB), "79.6"),
        (141 * GIB, "141"),
        (1 << 20, "<0.01"),
    ],
)
def test_gib(count, text):
    assert formatting.gib(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "—"),
        (0, "0 KiB"),
        (33 * 1024, "33.0 KiB"),
        (12 << 20, "12.0 MiB"),
        (479 << 20, "479 MiB"),
        (GIB, "1.0 GiB"),
        (int(17.3 * GIB), "17.3 GiB"),
        (470 * GIB, "470 GiB"),
    ],
)
def test_memory(count, text):
    assert formatting.memory(count) == text


@given(st.integers(min_value=0, max_value=2**46))
def test_memory_fits_its_column_and_never_says_a_thousand_of_a_smaller_unit(count):
    text = formatting.memory(count)
    assert len(text) <= 9
    assert float(text.split()[0]) < 1024 or text.endswith("GiB")


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "—"), (512, "512"), (6_300_000, "6.3M"), (999_950_000, "1.0B"), (235_093_634_560, "235.1B")],
)
def test_parameters(count, text):
    assert formatting.parameters(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (0, "00:00"), (161, "02:41"), (3761, "1:02:41"), (float("inf"), "—"), (-3, "00:00")],
)
def test_duration(seconds, text):
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.41, "0.4 s"), (9.97, "10 s"), (22, "22 s"), (75, "01:15"), (None, "—")]
)
def test_took(seconds, text):
    assert formatting.took(seconds) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.021, "+2.1 %"), (0.9, "−10.0 %"), (None, "—"), (float("nan"), "—")]
)
def test_signed_percent(ratio, text):
    assert formatting.signed_percent(ratio) == text


def test_percent_says_hundred_only_when_done():
    assert formatting.percent(0.9999) == "99%"
    assert formatting.percent(1.0) == "100%"


@pytest.mark.parametrize(("value", "text"), [(0.0433, ".0433"), (1.2, "1.20"), (None, "—"), (0.0, ".0000")])
def test_error(value, text):
    assert formatting.error(value) == text


@pytest.mark.parametrize(("count", "text"), [(40_960, "40k"), (512, "512"), (None, "—"), (131_072, "128k")])
def test_context(count, text):
    assert formatting.context(count) == text


@given(st.floats(min_value=-1, max_value=2), st.integers(min_value=1, max_value=120))
def test_bars_have_their_width(fraction, width):
    assert cell_len(filled(fraction, width)) == width
    assert cell_len(steps(fraction, width)) == width


def test_a_full_bar_is_full_and_an_empty_one_is_blank():
    assert filled(1.0, 8) == "█" * 8
    assert filled(0.0, 8) == " " * 8
    assert steps(0.02, 10) == "▇" + "▁" * 9  # what is there is seen


def test_level_line_shows_the_newest_right_and_the_missing_lowest():
    assert level_line([0, 50, 100], 5, top=100) == "▁▁▁▅█"
    assert level_line([None, 100, 0, 100], 2, top=100) == "▁█"
