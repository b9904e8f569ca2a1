"""What becomes of a goal: a plan, a measurement that is missing, or a sentence."""

from dataclasses import replace
from types import SimpleNamespace

import msgspec

from fqconsole.app import fit_view, planned, quantize_view
from fqconsole.app.fit_choices import goal_sentence, shown
from fqconsole.app.run_again import next_step
from fqconsole.app.workspace import FitChoice
from fqconsole.errors import OperatorError
from fqconsole.models.description import QuantizationInfo
from tests.app import fake_fit
from tests.app.fake_plan import FakePlanner
from tests.app.fakes import DEMO, fake_services

SIZE = FitChoice(goal="size", target_bits=4.5)
PREVIEW = fake_fit.preview(DEMO, fake_fit.HOST)


def answer(choice, about=DEMO, **changes):
    services = fake_services(**{"planner": lambda found, _mode: FakePlanner(found), **changes})
    return planned.planned(services, about, choice, PREVIEW)


def test_the_rule_needs_no_plan_and_a_quantized_model_can_have_none():
    assert answer(FitChoice()) is None
    info = QuantizationInfo("compressed-tensors", 4, (64,), True)
    made = answer(SIZE, msgspec.structs.replace(DEMO, quantization=info))
    assert made.state == "impossible" and "quantized already" in made.problem


def test_a_size_becomes_the_plan_that_keeps_to_it():
    made = answer(SIZE)
    assert made.state == "ready" and made.quantizes
    assert made.plan.bits == 4
    assert made.plan.target == "4.5 bits per weight" == goal_sentence(SIZE)
    assert made.bits_per_weight <= 4.5
    assert made.option.terms[0].bytes == made.bytes
    assert planned.summary(made) == "4.25 bits/weight · 1.8 MiB · predicted loss 0.39 %"
    assert {name for name, _loss in made.losses} == {matrix.name for matrix in made.plan.matrices}


def test_a_loss_becomes_the_narrowest_plan_within_it_or_sixteen_bits():
    made = answer(FitChoice(goal="loss", max_loss=0.02))
    assert made.plan.bits == 3
    wide = answer(FitChoice(goal="loss", max_loss=1e-9))
    assert wide.state == "ready" and not wide.quantizes
    words = quantize_view.nothing_to_do(DEMO, FitChoice(goal="loss"), wide)
    assert "leaves the model in 16 bits" in words
    assert fit_view.go_word(DEMO, FitChoice(goal="loss"), wide) == "talk"


def test_what_fits_takes_the_largest_plan_that_the_memory_lets_through():
    assert answer(FitChoice(goal="room")).plan.bits == 8
    small = fake_fit.FakeCapacity("a GPU", 4 << 20, 1 << 20, "gpu")
    services = fake_services(planner=lambda found, _mode: FakePlanner(found))
    made = planned.planned(services, DEMO, FitChoice(goal="room"), fake_fit.preview(DEMO, small))
    assert made.state == "impossible"
    assert "would be left" in made.problem and "shorter context" in made.problem
    assert made.frontier


def test_a_size_that_no_plan_has_is_a_sentence_beside_the_frontier():
    made = answer(FitChoice(goal="size", target_bits=2.0))
    assert (made.state, made.plan) == ("impossible", None)
    assert "can't be made that small" in made.problem
    assert fit_view.go_word(DEMO, SIZE, made) == ""
    assert len(made.frontier) == 3
    assert quantize_view.nothing_to_do(DEMO, SIZE, made) == made.problem


def test_a_model_that_was_not_measured_or_is_not_here_says_what_to_press():
    made = answer(SIZE, planner=lambda _about, _mode: None)
    assert made.state == "unmeasured"
    assert fit_view.go_word(DEMO, SIZE, made) == "measure"
    assert any("⏎ measures" in line and "12.0 MiB" in line for line in planned.measuring_lines(DEMO))
    away = answer(SIZE, msgspec.structs.replace(DEMO, path=None))
    assert away.state == "impossible" and "download" in away.problem


def test_weights_that_cannot_be_read_are_a_sentence():
    def planner(_about, _mode):
        raise OperatorError("/models/demo can't be read.", "Copy it again.")

    assert answer(SIZE, planner=planner).problem == "/models/demo can't be read. Copy it again."


def test_rows_of_a_plan_begin_with_what_loses_most():
    made = answer(SIZE)
    rows = quantize_view.planned_rows(made)
    losses = dict(made.losses)
    assert [name for name, _cells in rows] == sorted(losses, key=lambda name: -losses[name])
    assert rows[0][1][-1].endswith("%")


def test_a_planned_run_is_planned_again_by_the_size_it_came_to():
    row = SimpleNamespace(kind="quantize", status="failed", model="demo", path=None, revision=None, bits=4,
                          bits_per_weight=3.801)  # fmt: skip
    parts = {"head": 8, "experts": "layer", "widths": [4, 8, 16]}
    run = SimpleNamespace(row=row, options={"granularity": "planned", "mode": "fast", **parts})
    step = next_step(fake_services(), run, FitChoice())
    assert (step.choice.goal, step.choice.target_bits, step.choice.mode) == ("size", 3.8, "fast")
    assert (step.choice.head, step.choice.experts, step.choice.widths) == (8, "layer", (4, 8, 16))
    assert shown(step.choice, "widths", DEMO, host=True, devices=0) == ("4,8,16", "for engines")
    run.options = {"granularity": "adaptive", "group_size": 128, "mode": "best", "threshold": 0.5}
    choice = next_step(fake_services(), run, SIZE).choice
    assert (choice.group_size, choice.threshold) == (128, 0.5)
    assert shown(choice, "groups", DEMO, host=True, devices=0) == ("adaptive 128", "R 0.5")
    run.options = {"granularity": "fixed", "group_size": 64, "mode": "best"}
    step = next_step(fake_services(), run, replace(SIZE, head=4, experts="layer", widths=(4,)))
    assert (step.choice.goal, step.choice.granularity, step.choice.group_size) == ("rule", "fixed", 64)
    assert step.choice.widths == (3, 4, 8, 16)
    assert (step.choice.head, step.choice.experts) == (16, "model")  # of a run from before there was a choice
