"""What the Fit screen says of a preview."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fqconsole.app import fit_view
from fqconsole.app.verdicts import best_fit
from store import MemoryPair
from tests.app import fake_fit
from tests.app.fake_fit import FakeCapacity, FakeTerm
from tests.app.fakes import BIG_MOE, LLAMA, QWEN

GIB = 2**30
H100 = FakeCapacity("H100 80GB", 80 * GIB, 60 * GIB, "gpu")


@given(
    st.lists(st.integers(min_value=0, max_value=200 * GIB), max_size=8),
    st.integers(min_value=0, max_value=80 * GIB),
    st.integers(min_value=20, max_value=150),
)
def test_the_bar_has_its_width(sizes, free, width):
    terms = [FakeTerm("t", size, "formula", "") for size in sizes]
    assert len(fit_view.memory_bar(terms, replace(H100, free_bytes=free), width)) == width


def test_the_bar_shows_what_others_hold_and_loses_no_term():
    terms = [FakeTerm("weights", 20 * GIB, "headers", ""), FakeTerm("small", 1, "formula", "")]
    bar = fit_view.memory_bar(terms, H100, 40)
    assert bar == "/" * 10 + "█" * 10 + "▓" + "·" * 19


def test_the_best_fit_is_the_widest_that_fits_then_the_widest_that_is_tight():
    assert best_fit(fake_fit.preview(QWEN, H100)).bits == 16
    assert best_fit(fake_fit.preview(LLAMA, H100)).text.startswith("✓ int4")
    nothing = best_fit(fake_fit.preview(BIG_MOE, H100))
    assert (nothing.bits, nothing.verdict) == (3, "does not fit")
    assert nothing.share > 1
    assert best_fit(fake_fit.preview(QWEN, H100), gpus=3) is None


def test_verdicts_say_how_much_is_left_or_missing():
    preview = fake_fit.preview(LLAMA, H100)
    assert fit_view.verdict_line(fit_view.chosen(preview, 4, 1)) == "✓ FITS · 18.6 GiB left"
    assert "DOES NOT FIT" in fit_view.verdict_line(fit_view.chosen(preview, 16, 1))
    assert "too much" in fit_view.verdict_line(fit_view.chosen(preview, 16, 1))


def test_every_option_has_the_same_width():
    preview = fake_fit.preview(BIG_MOE, H100)
    assert {cell_len(fit_view.option_cell(option)) for option in preview.options} == {16}


def test_a_simulated_device_says_that_it_is_not_here():
    named = fake_fit.named_capacities()["a100-40gb"]
    assert fit_view.capacity_title(named) == "a100-40gb · not here, 40.0 GiB"
    assert fit_view.capacity_title(H100) == "H100 80GB · free 60.0 of 80.0 GiB"
    assert fit_view.capacity_title(fake_fit.HOST).startswith("This machine · free")


def test_the_explanation_names_the_origin_of_every_term():
    option = fit_view.chosen(fake_fit.preview(QWEN, H100), 4, 1)
    text = "\n".join(fit_view.explanation(option, H100))
    for term in option.terms:
        assert term.name in text
        assert term.origin in text
        assert term.detail in text
    assert all(len(line) <= 72 for line in text.splitlines())


def test_terms_of_nothing_are_left_out():
    option = fit_view.chosen(fake_fit.preview(QWEN, fake_fit.HOST), 4, 1)
    assert "CUDA + Triton" not in [term.name for term in fit_view.shown_terms(option)]


def pair(run_id, bits, predicted, measured, model=QWEN.id):
    return MemoryPair(run_id, 0.0, model, bits, 0, "H100", {}, {"total": (predicted, measured)})


def test_what_was_measured_last_of_each_width_and_how_far_that_was_from_the_prediction():
    pairs = [
        pair("r0009", 4, 1, 1, model="another"),
        pair("r0008", 4, 10 * GIB, int(10.13 * GIB)),
        pair("r0007", 4, 10 * GIB, 9 * GIB),
        pair("r0006", 16, 0, GIB),
    ]
    found = fit_view.latest_by_bits(pairs, QWEN.id)
    assert {bits: held.run_id for bits, held in found.items()} == {4: "r0008", 16: "r0006"}
    assert fit_view.measured_words(found[4]) == "r0008  10.1 GiB  +1.3 %"
    assert fit_view.measured_words(found[16]).endswith("—")


def test_terms_without_room_share_a_line_and_the_largest_keep_theirs():
    terms = [
        FakeTerm(name, size * GIB, "formula", "")
        for name, size in zip("abcdef", (9, 1, 7, 2, 3, 8), strict=True)
    ]
    assert len(fit_view.term_lines(terms, 60, 6)) == 6
    lines = fit_view.term_lines(terms, 60, 4)
    assert [line[2] for line in lines[:3]] == ["a", "c", "f"]
    assert lines[3].split() == ["+", "3", "more", "6.0", "GiB", "e", "tells"]
    assert len(fit_view.term_lines(terms, 60, -3)) == 2


def test_the_picked_number_of_gpus_is_always_among_those_shown():
    assert fit_view.columns_shown([1, 2, 4, 8], 1, 3) == [1, 2, 4]
    assert fit_view.columns_shown([1, 2, 4, 8], 8, 3) == [1, 2, 8]
    assert fit_view.columns_shown([1], 4, 0) == [1]


def test_a_term_says_as_many_whole_phrases_as_there_is_room_for_and_marks_what_is_left_out():
    term = FakeTerm("activations", GIB, "formula", "prefill 8,192 tokens, logits")
    whole = "░ activations         1.0 GiB  formula · prefill 8,192 tokens, logits"
    assert fit_view.term_line(3, term, len(whole)) == whole
    assert fit_view.term_line(3, term, len(whole) - 1) == whole.replace(", logits", " …")
    assert fit_view.term_line(3, term, 61) == whole.replace(" tokens, logits", " …")
    assert fit_view.term_line(3, term, 42) == "░ activations         1.0 GiB  formula"
