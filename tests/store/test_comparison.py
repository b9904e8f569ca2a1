"""Side by side: only what differs, signed, and noise called noise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import StoreError
from store.comparison import verdict
from store.noise import margin, quantile
from store.samples import Sample
from tests.store.conftest import T


def line(comparison, name):
    return next((row for row in comparison.rows if row.name == name), None)


@pytest.fixture
def pair(store, add):
    """A 16-bit evaluation and a quantize run with what was measured on its checkpoint."""
    plain = add(
        "evaluate",
        bits=16,
        metrics={"perplexity": 9.72, "bytes": 16 * 2**30},
        host={"versions": {"torch": "2.13"}},
    )
    packed = add(
        "quantize", bits=4, group_size=64, granularity="adaptive", options={"threshold": 0.7, "out": "/out"},
        metrics={"bytes": 6 * 2**30, "bits_per_weight": 4.25}, host={"versions": {"torch": "2.13"}},
    )  # fmt: skip
    add("evaluate", parent=packed, metrics={"perplexity": 9.81, "seconds": 5.0})
    return plain, packed


def test_only_what_differs_is_told_against_the_baseline(store, pair):
    comparison = store.compare(pair)
    assert comparison.run_ids == pair
    assert comparison.baseline == pair[0]
    assert [row.name for row in comparison.rows] == [
        "kind", "bits", "granularity", "threshold", "bytes", "bits_per_weight", "perplexity",
    ]  # fmt: skip
    bits = line(comparison, "bits")
    assert [cell.text for cell in bits.cells] == ["16-bit", "int4 / 64"]
    weights = line(comparison, "bytes").cells
    assert (weights[0].text, weights[0].change, weights[0].verdict) == ("16.0 GiB", None, "")
    assert (weights[1].text, weights[1].change_text, weights[1].verdict) == ("6.0 GiB", "−62 %", "better")
    perplexity = line(comparison, "perplexity").cells
    assert (perplexity[1].change_text, perplexity[1].verdict) == ("+0.93 %", "worse")
    assert comparison.same > 0


def test_everything_can_be_asked_for(store, pair):
    some, whole = store.compare(pair), store.compare(pair, everything=True)
    assert whole.same == 0
    assert len(whole.rows) == len(some.rows) + some.same
    assert line(whole, "model") is not None
    assert line(some, "model") is None


def test_the_baseline_stands_first_and_may_be_named_or_marked(store, pair):
    assert store.compare(pair, baseline=pair[1]).run_ids == (pair[1], pair[0])
    store.set_baseline(pair[1])
    assert store.compare(pair).run_ids == (pair[1], pair[0])
    assert store.compare([pair[0]]).run_ids == (pair[1], pair[0])


def test_without_a_mark_the_original_in_16_bits_is_the_baseline(store, pair):
    assert store.compare((pair[1], pair[0])).run_ids == pair


def test_one_run_against_nothing_is_told_alone(store, pair):
    comparison = store.compare([pair[0]])
    assert comparison.run_ids == (pair[0],)
    assert comparison.rows == ()


def test_a_run_named_twice_is_one_column(store, pair):
    assert store.compare([pair[0], pair[1], pair[0]]).run_ids == pair


def test_nothing_and_nobody_are_sentences(store, pair):
    with pytest.raises(StoreError, match="nothing to compare"):
        store.compare([])
    with pytest.raises(StoreError, match="no run r0099"):
        store.compare([pair[0], "r0099"])


def speeds(add, path, values, **columns):
    return [
        add(
            "generate",
            path=path,
            prompt="Why?",
            output=str(value),
            metrics={"decode_tok_s": value},
            **columns,
        )
        for value in values
    ]


def test_repeats_of_a_prompt_give_a_mean_with_its_spread(store, add):
    slow = speeds(add, "/16", [70.0, 71.0, 72.0])
    fast = speeds(add, "/4", [145.0, 148.0, 151.0])
    cells = line(store.compare([slow[0], fast[-1]]), "decode_tok_s").cells
    assert [cell.text for cell in cells] == ["71.0 ±1.00 (n=3)", "148 ±3.00 (n=3)"]
    assert (cells[1].n, cells[1].spread, cells[1].change_text, cells[1].verdict) == (
        3,
        3.0,
        "+108 %",
        "better",
    )


def test_a_difference_within_the_spread_is_noise(store, add):
    first, second = speeds(add, "/16", [70.0, 80.0]), speeds(add, "/4", [72.0, 84.0])
    cell = line(store.compare([first[0], second[0]]), "decode_tok_s").cells[1]
    assert (cell.change_text, cell.verdict) == ("+4.0 %", "within noise")


def test_another_prompt_sampling_device_or_a_failed_run_is_no_repeat(store, add):
    first = speeds(add, "/16", [70.0])[0]
    add("generate", path="/16", prompt="Other?", output="a", metrics={"decode_tok_s": 1.0})
    speeds(add, "/16", [1.0], sampling={"temperature": 0.9})
    speeds(add, "/16", [1.0], device="cuda:0")
    speeds(add, "/16", [1.0], end="failed")
    # The seed alone makes no other experiment.
    speeds(add, "/16", [72.0], sampling={"temperature": 0.0, "seed": 9})
    cell = line(store.compare([first], everything=True), "decode_tok_s").cells[0]
    assert (cell.n, cell.value) == (2, 71.0)


def test_steps_of_a_run_are_repeats_too(store, add):
    runs = [add("benchmark"), add("benchmark")]
    for run, values in zip(runs, ([10.0, 12.0, 14.0], [20.0, 22.0, 24.0]), strict=True):
        for step, value in enumerate(values):
            store.add_metrics(run, {"prefill_tok_s": value}, step)
    cell = line(store.compare(runs), "prefill_tok_s").cells[1]
    assert (cell.value, cell.spread, cell.n, cell.verdict) == (22.0, 2.0, 3, "better")


def test_a_number_that_one_run_lacks_is_a_dash_without_a_verdict(store, add):
    runs = [add(metrics={"perplexity": 9.0}), add()]
    cells = line(store.compare(runs), "perplexity").cells
    assert (cells[1].text, cells[1].change, cells[1].verdict) == ("—", None, "")
    turned = line(store.compare(runs, baseline=runs[1]), "perplexity").cells
    assert (turned[1].text, turned[1].change, turned[1].verdict) == ("9.000", None, "")


def test_a_baseline_of_zero_has_no_percentage(store, add):
    runs = [add(metrics={"kl_divergence": 0.0}), add(metrics={"kl_divergence": 0.1})]
    cell = line(store.compare(runs), "kl_divergence").cells[1]
    assert (cell.change_text, cell.verdict) == ("", "worse")


def test_relative_errors_of_matrices_are_compared_by_their_mean(store, add):
    runs = [add(), add()]
    for run, errors in zip(runs, ((0.1, 0.3), (0.1, 0.1)), strict=True):
        store.add_matrices(
            run,
            [
                {"name": str(place), "index": place, "layer": 0, "kind": "q", "shape": (2, 2), "bits": 4,
                 "group_size": None, "statistic": {}, "relative_error": error, "bytes": 1, "seconds": 0.0,
                 "reason": ""}
                for place, error in enumerate(errors)
            ],
        )  # fmt: skip
    cells = line(store.compare(runs), "relative_error").cells
    assert [cell.text for cell in cells] == ["0.20", "0.10"]
    assert cells[1].verdict == "better"


def test_prompts_are_shortened_to_one_line(store, add):
    runs = [add("generate", prompt="a\nb " * 100, output="x"), add("generate", prompt="c", output="y")]
    text = line(store.compare(runs), "prompt").cells[0].text
    assert len(text) == 60
    assert "\n" not in text


numbers = st.floats(-1e6, 1e6)
spreads = st.none() | st.floats(0, 1e6)


measured = st.builds(
    lambda mean, spread, n: Sample(mean, spread, 1 if spread is None else n),
    numbers,
    spreads,
    st.integers(2, 50),
)


@given(sample=measured, reference=measured, timing=st.booleans())
def test_better_one_way_is_worse_the_other_and_noise_is_noise_both_ways(sample, reference, timing):
    lower = verdict(sample, reference, "lower", timing=timing)
    higher = verdict(sample, reference, "higher", timing=timing)
    assert {lower, higher} in ({"better", "worse"}, {"same"}, {"within noise"})
    turned = {"better": "worse", "worse": "better"}.get(lower, lower)
    assert verdict(reference, sample, "lower", timing=timing) == turned
    if sample.n == reference.n == 1 and not timing:
        assert lower != "within noise"


@pytest.mark.parametrize(
    ("one", "other", "timing", "expected"),
    [
        # Welch's interval, against scipy.stats.ttest_ind(..., equal_var=False).confidence_interval
        (Sample(0, 3.0, 3), Sample(0, 1.0, 3), False, 4.303 * (9 / 3 + 1 / 3) ** 0.5),
        (Sample(0, 2.0, 10), Sample(0, 2.0, 10), False, 2.101 * (8 / 10) ** 0.5),
        (Sample(0, 0.0, 5), Sample(0, 0.0, 5), True, 0.0),
        # scores that come with the standard error of their mean
        (
            Sample(0.7, 0.03, 1000, of_mean=True),
            Sample(0.6, 0.04, 1000, of_mean=True),
            False,
            (1.95996 + 2.3722 / 1852) * 0.05,
        ),
        # one single value beside repeats
        (Sample(0, 3.0, 3), Sample(50.0, None, 1), True, 4.303 * 3 * (4 / 3) ** 0.5),
        # single values
        (Sample(100.0, None, 1), Sample(96.0, None, 1), True, 5.0),
        (Sample(100.0, None, 1), Sample(96.0, None, 1), False, 0.0),
    ],
)
def test_the_margin_of_chance(one, other, timing, expected):
    assert margin(one, other, timing=timing) == pytest.approx(expected)
    assert margin(other, one, timing=timing) == pytest.approx(expected)


def test_quantiles_fall_towards_the_normal_one():
    found = [quantile(freedom) for freedom in (1, 1.9, 2, 5, 29, 30, 31, 40, 120, 1e12)]
    assert found == sorted(found, reverse=True)
    assert quantile(40) == pytest.approx(2.021, abs=2e-3)
    assert quantile(1e12) == pytest.approx(1.960, abs=1e-4)


def test_single_speeds_within_five_percent_are_noise_and_single_sizes_are_not(store, add):
    runs = [
        add(metrics={"bytes": 100.0 * 2**30, "decode_tok_s": 100.0}),
        add(metrics={"bytes": 99.0 * 2**30, "decode_tok_s": 104.0}),
    ]
    comparison = store.compare(runs)
    assert line(comparison, "decode_tok_s").cells[1].verdict == "within noise"
    assert line(comparison, "bytes").cells[1].verdict == "better"


def test_times_are_compared_between_jobs_of_one_kind_only(store, add):
    runs = [add(started=T), add("evaluate", started=T, end=None), add(started=T)]
    store.finish_run(runs[1], "done", ended=T + 30)
    cells = line(store.compare(runs), "seconds").cells
    assert [cell.text for cell in cells] == ["1 min 00 s", "30.0 s", "1 min 00 s"]
    assert [cell.verdict for cell in cells] == ["", "", "same"]
    assert cells[1].change is None


def test_an_answer_in_16_bits_is_compared_by_what_was_measured_against_its_model(store, add):
    made = add("quantize", bits=4, metrics={"bytes": 6 * 2**30, "source_bytes": 16 * 2**30})
    add(
        "evaluate",
        parent=made,
        metrics={"perplexity": 9.81, "reference_perplexity": 9.72, "kl_divergence": 0.1},
    )
    (answer,) = speeds(add, "/4", [150.0], bits=4, parent=made)
    (plain,) = speeds(add, "/16", [70.0], bits=16)
    comparison = store.compare([plain, answer])
    found = {row.name: [cell.text for cell in row.cells] for row in comparison.rows}
    assert found["bytes"] == ["16.0 GiB", "6.0 GiB"]
    assert found["perplexity"] == ["9.720", "9.810"]
    assert found["kl_divergence"] == ["0", "0.10"]
    assert found["decode_tok_s"] == ["70.0", "150"]
    # By definition a model differs from itself by nothing: that alone is no line.
    other = add("generate", bits=16, prompt="Why?", output="Not so.", path="/other")
    assert line(store.compare([plain, other], everything=True), "kl_divergence") is None
