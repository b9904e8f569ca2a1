"""The ◂ ▸ choices of the Fit screen."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.app import fit_choices
from fqconsole.app.fit_choices import NAMES, contexts, group_word, shown, stepped, unusual_of
from fqconsole.app.model_parts import ModelParts
from fqconsole.app.workspace import FitChoice
from tests.app import fake_fit
from tests.app.fakes import DEMO, QWEN


@given(st.integers(min_value=1, max_value=2**21))
def test_contexts_rise_to_the_maximum(longest):
    values = contexts(longest)
    assert values == sorted(set(values))
    assert values[-1] == longest


@pytest.mark.parametrize("name", NAMES)
def test_stepping_right_and_left_again_changes_nothing_and_both_ends_hold(name):
    choice = stepped(FitChoice(context=4096), name, 1, QWEN)
    assert choice != FitChoice(context=4096)
    assert stepped(choice, name, -1, QWEN) == FitChoice(context=4096)
    for step in (-1, 1):
        end = choice
        for _ in range(40):
            end = stepped(end, name, step, QWEN)
        assert stepped(end, name, step, QWEN) == end


def test_the_usual_context_is_a_stop_on_the_way():
    assert stepped(FitChoice(), "context", 1, QWEN).context == 16_384
    assert stepped(FitChoice(), "context", -1, QWEN).context == 4096
    assert stepped(FitChoice(), "context", 1, DEMO).context == 512  # its maximum


def test_groups_turn_from_adaptive_to_fixed():
    choice = stepped(FitChoice(), "groups", 1, QWEN)
    assert (choice.granularity, choice.group_size) == ("fixed", None)
    assert group_word(choice) == "channel"
    assert group_word(stepped(choice, "groups", 1, QWEN)) == "256"


def test_groups_that_only_the_command_line_chooses_are_told_as_they_are():
    assert group_word(FitChoice(granularity="matrix")) == "matrix"
    assert group_word(FitChoice(group_size=None)) == "adaptive channel"
    assert stepped(FitChoice(granularity="matrix"), "groups", 1, QWEN).granularity == "adaptive"


def test_sixteen_bits_have_no_groups_and_the_host_has_one_place():
    sixteen = FitChoice(bits=16)
    assert stepped(sixteen, "groups", 1, QWEN) == sixteen
    assert stepped(FitChoice(), "gpus", 1, QWEN, host=True) == FitChoice()
    assert shown(sixteen, "groups", QWEN, host=False, devices=1) == ("—", "")
    assert shown(FitChoice(), "gpus", QWEN, host=True, devices=0) == ("—", "none: CPU")
    assert shown(FitChoice(), "gpus", QWEN, host=False, devices=2) == ("1", "of 2")
    two = replace(FitChoice(), gpus=2)
    split = SimpleNamespace(gpus=2, split="tensor parallel")
    assert shown(two, "gpus", QWEN, host=False, devices=2, option=split) == ("2", "tensor parallel")


def test_what_is_shown_of_the_context():
    option = fake_fit.preview(QWEN, fake_fit.HOST).options[0]
    room = replace(option, largest_context=21_504, largest_batch=0)
    assert shown(FitChoice(), "context", QWEN, host=False, devices=1) == ("8,192", "")
    assert shown(FitChoice(), "context", QWEN, host=False, devices=1, option=room) == ("8,192", "≤ 21,504")
    assert shown(FitChoice(), "batch", QWEN, host=False, devices=1, option=room) == ("1", "✗ none fits")
    assert shown(replace(FitChoice(), context=256), "context", QWEN, host=False, devices=1)[0] == "256"
    assert fit_choices.usual_context(512) == 512


@pytest.mark.parametrize(("goal", "value"), [("size", "4.00"), ("loss", "1 %"), ("room", "—")])
def test_a_goal_has_a_target_in_place_of_precision_and_groups(goal, value):
    choice = FitChoice(goal=goal)
    names = fit_choices.names_of(choice, ModelParts())
    assert {"target", "widths"} <= set(names) and not {"precision", "groups"} & set(names)
    assert shown(choice, "target", QWEN, host=False, devices=1)[0] == value
    there_and_back = stepped(stepped(choice, "target", 1, QWEN), "target", -1, QWEN)
    assert there_and_back == choice
    assert (stepped(choice, "target", 1, QWEN) != choice) == (goal != "room")


def test_sixteen_bits_have_no_mode():
    sixteen = FitChoice(bits=16)
    assert stepped(sixteen, "mode", 1, QWEN) == sixteen
    assert shown(sixteen, "mode", QWEN, host=False, devices=1) == ("—", "")
    assert stepped(FitChoice(), "mode", 1, QWEN).mode == "fast"


def test_a_target_between_two_stops_goes_to_the_next_one_in_its_direction():
    between = FitChoice(goal="size", target_bits=3.83)
    assert stepped(between, "target", 1, QWEN).target_bits == 4.0
    assert stepped(between, "target", -1, QWEN).target_bits == 3.8
    beyond = FitChoice(goal="size", target_bits=9.5)
    assert stepped(beyond, "target", 1, QWEN) == beyond


def test_a_plan_keeps_to_the_widths_of_engines_or_takes_all():
    choice = stepped(FitChoice(goal="size"), "widths", 1, QWEN)
    assert shown(choice, "widths", QWEN, host=False, devices=1) == ("4,8,16", "for engines")
    assert stepped(choice, "widths", -1, QWEN).widths == (3, 4, 8, 16)
    brought = replace(choice, widths=(4, 8))  # by a run of the command line
    assert shown(brought, "widths", QWEN, host=False, devices=1) == ("4,8", "")
    assert stepped(brought, "widths", 1, QWEN).widths == (3, 4, 8, 16)


def test_what_is_not_as_usual_is_told_of_a_choice_and_of_a_run():
    assert unusual_of({"bits": 4}) == []
    options = {"head": 8, "experts": "layer", "widths": [4, 8, 16]}
    assert unusual_of(options) == ["widths 4,8,16", "head int8", "experts by layer"]
