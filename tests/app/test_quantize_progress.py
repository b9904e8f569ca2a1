"""A quantize job as its events tell it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.app import quantize_view
from fqconsole.app.quantize_progress import (
    PHASES,
    QuantizeProgress,
    is_finer,
    map_cells,
    overall_fraction,
    phases_of,
    went_finer,
)
from fqconsole.app.quantize_view import Promised
from fqconsole.jobs.messages import MatrixDone, PhaseStarted, Progress, StartQuantize
from tests.app.fake_plan import base_plan, failed_events, quantize_events
from tests.app.fakes import DEMO


def after(events) -> QuantizeProgress:
    state = QuantizeProgress()
    for event in events:
        state.take(event)
    return state


def test_the_parts_of_the_phases_make_one():
    assert sum(PHASES.values()) == pytest.approx(1.0)


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=2, max_size=20))
def test_the_whole_never_goes_back(parts):
    steps = [(phase, part) for phase in PHASES for part in sorted(parts)]
    fractions = [overall_fraction(phase, part * 100, 100) for phase, part in steps]
    assert fractions == sorted(fractions)
    assert fractions[0] >= 0 and fractions[-1] <= 1


def test_a_download_is_its_own_phase_and_unknown_without_a_total():
    assert overall_fraction("download", 30, 120) == 0.25
    assert overall_fraction("download", 30, 0) is None


def asked(**options):
    return StartQuantize(run_id="r0001", model_id="demo", model_path="/m", out="/o", bits=4, **options)


def test_a_job_has_only_the_phases_it_goes_through():
    assert list(phases_of(asked())) == ["balance", "analyse", "quantize"]
    assert list(phases_of(asked(mode="fast"))) == ["analyse", "quantize"]
    assert list(phases_of(asked(plan_path="/p", granularity="planned"))) == ["quantize"]
    for request in (None, asked(), asked(mode="fast"), asked(plan_path="/p")):
        assert sum(phases_of(request).values()) == pytest.approx(1.0)


def test_the_time_left_is_the_jobs_own_forecast():
    state = QuantizeProgress(phases_of(asked()))
    assert state.eta is None
    state.take(PhaseStarted(0.0, "analyse", 3e9, "B"))
    state.take(Progress(1.0, "analyse", 1e9, 3e9, 1e9, 19.5))
    assert state.eta == 19.5
    state.take(PhaseStarted(3.0, "quantize", 3e9, "B"))
    assert state.eta is None


def test_the_map_tells_what_is_planned_what_is_done_and_what_is_not_decided():
    plan = base_plan(DEMO, 4)
    done = [event for event in quantize_events(DEMO, upto=7) if isinstance(event, MatrixDone)]
    undecided = map_cells(plan, (), planned=False)
    assert len(undecided) == len(plan.matrices)
    assert {cell.bits for cell in undecided} == {None}
    cells = map_cells(plan, done)
    assert [cell.done for cell in cells] == [True] * 7 + [False] * (len(cells) - 7)
    assert {cell.kind for cell in cells if cell.layer == 0} == {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
        "mlp.down_proj",
    }  # fmt: skip
    assert next(cell for cell in cells if cell.name.endswith("0.mlp.down_proj")).finer
    assert [cell.name for cell in map_cells(None, done)] == [event.name for event in done]


def test_memory_is_told_against_what_was_promised():
    state = after(quantize_events(DEMO))
    assert quantize_view.memory_line(state, None) == "memory  488 MiB host, peak 488 MiB"
    within = quantize_view.memory_line(state, Promised(600 << 20, on_gpu=False))
    assert within.endswith("peak 488 MiB of 600 MiB predicted ✓")
    assert quantize_view.memory_line(state, Promised(400 << 20, on_gpu=False)).endswith("predicted ! more")
    assert quantize_view.memory_line(state, Promised(1, on_gpu=True)) == "memory  488 MiB host, peak 488 MiB"
    assert quantize_view.memory_line(QuantizeProgress(), None) == ""


def test_several_widths_are_counted_by_width():
    done = [event for event in quantize_events(DEMO, upto=4) if isinstance(event, MatrixDone)]
    state = QuantizeProgress(matrices=[*done, msgspec.structs.replace(done[0], bits=8)])
    assert state.schemes() == [("int8", 1), ("int4", 4)]
    assert quantize_view.so_far(state).endswith("int8 ×1 · int4 ×4")


def test_the_fraction_follows_the_events_to_one():
    fractions = []
    state = QuantizeProgress()
    for event in quantize_events(DEMO):
        state.take(event)
        fractions.append(state.fraction)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_errors_by_layer_take_the_worst_and_mark_what_went_finer():
    events = quantize_events(DEMO)
    state = after(events)
    layers = state.errors_by_layer()
    assert [layer for layer, _error, _finer in layers] == list(range(DEMO.layers))
    assert [layer for layer, _error, finer in layers if finer] == [0, 2, 3]
    worst = max(e.relative_error for e in events if isinstance(e, MatrixDone) and e.layer == 3)
    assert layers[3][1] == worst


def test_the_worst_matrices_in_three_orders():
    state = after(quantize_events(DEMO))
    errors = [event.relative_error for event in state.worst("error", 5)]
    assert errors == sorted(errors, reverse=True)
    assert len(errors) == 5
    assert state.worst("layer", 1)[0].layer == 0
    sizes = [event.bytes for event in state.worst("bytes", 100)]
    assert sizes == sorted(sizes, reverse=True)


def test_bits_per_weight_so_far_is_stored_bits_over_weights():
    state = after(quantize_events(DEMO, upto=6))
    stored = sum(event.bytes for event in state.matrices) * 8
    weights = sum(event.shape[0] * event.shape[1] for event in state.matrices)
    assert state.bits_per_weight == stored / weights
    assert state.schemes() == [("64", 5), ("32", 1)]


def test_the_log_gives_the_reason_only_where_the_plan_left_its_base():
    lines = [text for _t, _level, text in after(quantize_events(DEMO)).log]
    reasons = [line for line in lines if "range halves" in line]
    assert len(reasons) == 5
    assert "layer 0 q_proj int4 groups of 64 error .0600" in lines


@pytest.mark.parametrize(
    ("group", "base", "finer"),
    [(32, 64, True), (64, 64, False), (None, None, False), (128, None, True), (None, 64, False)],
)
def test_finer(group, base, finer):
    assert is_finer(group, base) is finer


def test_words_of_a_finished_and_of_a_failed_job():
    state = after(quantize_events(DEMO))
    lines = quantize_view.done_lines(state, "quality")
    assert "times smaller" in lines[0]
    assert lines[-1] == "Press ⏎ to talk to it."
    failure = failed_events(DEMO)[-1]
    assert quantize_view.failed_lines(failure)[0].startswith("✗ The disk under")
    assert quantize_view.failed_lines(None)


def test_a_job_that_has_told_nothing_yet_has_words_too():
    state = QuantizeProgress()
    assert quantize_view.bar_word(state, paused=False) == "starting the worker  0%"
    assert quantize_view.running_lines(state, 3.0, None)[0] == "00:03 elapsed   time left: unknown yet"


def test_a_packed_head_begins_with_the_groups_of_its_own_width_and_a_planned_matrix_with_none():
    plan = msgspec.structs.replace(base_plan(DEMO, 8), group_size=None)
    assert went_finer(plan, 8, 128)
    assert not went_finer(plan, 4, 64)  # the head in int4 beside matrices in int8
    assert went_finer(plan, 4, 32)
    assert not went_finer(msgspec.structs.replace(plan, granularity="planned"), 8, 128)
    assert not went_finer(None, 8, 16)


@pytest.mark.parametrize(("unit", "rate"), [("B", 4e8), ("weights", None)])
def test_only_bytes_are_told_as_bytes_a_second(unit, rate):
    state = after([PhaseStarted(0.0, "balance", 1e9, unit), Progress(1.0, "balance", 1e8, 1e9, 4e8, 2.0)])
    assert state.rate == rate
    assert ("MiB/s" in quantize_view.running_lines(state, 1.0, None)[0]) == (unit == "B")
