"""The page for stakeholders: what it says in short, what its drawings show, that they stay inside."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.axes import AXES
from store.export import to_html, to_markdown
from store.points import Point
from store.report.bars import Bar, bar_chart
from store.report.matrices import error_plot, heat_map
from store.report.plots import HEIGHT, WIDTH, scatter
from store.rows import MatrixRow

SIZE, PERPLEXITY, SPEED = AXES[:3]


def point(number, size, perplexity, *, baseline=False):
    return Point(f"r{number:04}", "m", "int4 / 64", baseline, size, perplexity, None, None, None, None, None)


def matrix(layer, kind, *, bits=4, group=64, error=0.1):
    return MatrixRow(
        name=f"layers.{layer}.{kind}", layer=layer, kind=kind, shape=(8, 8), bits=bits, group_size=group,
        statistic={}, relative_error=error, bytes=40, seconds=0.0, reason="",
    )  # fmt: skip


@pytest.fixture
def family(store, add):
    made = add("quantize", "Qwen", bits=4, group_size=64,
               metrics={"bytes": 6 * 2**30, "source_bytes": 16 * 2**30})  # fmt: skip
    add("evaluate", "Qwen", parent=made, metrics={"perplexity": 9.81, "reference_perplexity": 9.72})
    plain = add("generate", "Qwen", bits=16, path="/16", prompt="Who?", output="Mira found a red lantern.",
                metrics={"decode_tok_s": 70.0})  # fmt: skip
    packed = add("generate", "Qwen", bits=4, group_size=64, path="/4", parent=made, prompt="Who?",
                 output="Mira lost a red <kite>.", metrics={"decode_tok_s": 147.0})  # fmt: skip
    return plain, packed, made


def test_in_short_says_size_speed_and_quality_against_the_baseline(store, family):
    plain, packed, _made = family
    page = to_html(store, [plain, packed])
    sentence = re.search(r"<li>(.*?)</li>", page)[1]
    assert sentence == (
        f"int4 / 64 ({packed}) against 16-bit ({plain}): 6.0 GiB in place of 16.0 GiB (−62 %); "
        "2.10 times as fast (147 against 70.0 tok/s); perplexity 9.810 against 9.720 (+0.93 %)."
    )


def test_markdown_begins_with_what_it_means_in_short(store, family):
    plain, packed, _made = family
    text = to_markdown(store, [plain, packed])
    assert f"\n- int4 / 64 ({packed}) against 16-bit ({plain}): 6.0 GiB in place of 16.0 GiB" in text


def test_a_baseline_that_was_not_chosen_is_on_the_page(store, family):
    plain, packed, _made = family
    store.set_baseline(plain)
    assert f"Against {plain}" in to_html(store, [packed])


def test_what_several_runs_tell_of_one_model_is_said_once(store, family):
    """Of the runs on one checkpoint, and of one answer that is shown for the run that made it."""
    plain, packed, made = family
    page = to_html(store, [plain, made, packed])
    assert page.count("<li>") == 1
    assert page.count("Mira <mark>lost</mark>") == 1


def test_answers_to_one_prompt_stand_beside_each_other_with_what_differs_marked(store, family):
    page = to_html(store, family[:2])
    assert page.count('<div class="card">') == 2
    assert "<pre>Mira found a red lantern.</pre>" in page
    assert "<pre>Mira <mark>lost</mark> a red <mark>&lt;kite&gt;</mark>.</pre>" in page
    assert "% of the words the same" in page


def test_a_checkpoint_shows_its_latest_answer(store, family):
    plain, packed, made = family
    page = to_html(store, [plain, made])
    assert f"<h3>{packed} · Qwen · int4 / 64</h3>" in page


def test_the_plots_of_size_quality_and_speed_are_there(store, family):
    page = to_html(store, family[:2])
    for head in ("Perplexity against size", "Tok/s against size", "Perplexity against tok/s"):
        assert f"<h3>{head}</h3><svg" in page
    assert 'class="base"' in page and 'class="best"' in page


def test_one_point_alone_is_no_plot():
    assert scatter([point(1, 1.0, 1.0), point(2, 2.0, None)], SIZE, PERPLEXITY) == ""


numbers = st.floats(1e-3, 1e12)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=12, unique=True))
def test_points_and_labels_stay_inside_the_drawing(pairs):
    chart = scatter([point(number, *pair) for number, pair in enumerate(pairs)], SIZE, PERPLEXITY)
    spots = re.findall(r'<circle class="\w+" cx="([\d.]+)" cy="([\d.]+)"', chart)
    assert len(spots) == len(pairs)
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in spots)
    assert "nan" not in chart


def test_whiskers_end_inside_and_begin_at_nothing():
    chart = bar_chart("x", [Bar("r0001", 10.0, "10", 12.0), Bar("r0002", None, "—")])
    left, right = (float(place) for place in re.search(r'd="M([\d.]+) 11.0H([\d.]+)', chart).groups())
    assert (left, right) == (150.0, 470.0)


def test_the_map_says_bits_and_group_of_every_matrix_and_is_darker_for_more():
    found = heat_map([matrix(0, "q_proj"), matrix(1, "q_proj", bits=8, group=None), matrix(0, "up", bits=3)])
    cells = re.findall(r'fill-opacity="([\d.]+)"/><text class="([\w ]+)"[^>]*>([^<]+)<', found)
    assert [text for _shade, _style, text in cells] == ["4 · 64", "3 · 64", "8 · ch"]
    shades = {text: float(shade) for shade, _style, text in cells}
    assert shades["3 · 64"] < shades["4 · 64"] < shades["8 · ch"]
    assert cells[2][1] == "middle on"
    assert heat_map([matrix(0, "experts"), matrix(0, "experts", bits=8)]).count("mixed") == 1
    assert heat_map([matrix(None, "lm_head")]) == ""


def test_errors_by_layer_mark_another_group():
    chart = error_plot([*(matrix(layer, "q") for layer in range(30)), matrix(3, "up", group=32, error=0.5)])
    assert chart.count('<circle class="dot"') == 30
    assert chart.count('<path class="finer"') == 1
    assert "▲ another choice" in chart
    assert error_plot([matrix(0, "q", error=0.0)]) == ""
