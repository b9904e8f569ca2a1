"""The command that the console shows asks for what the console would start."""

import shlex
from dataclasses import replace

import msgspec
import pytest
from typer.main import get_command

from fqconsole.app.command_line import quantize_command
from fqconsole.app.fit_choices import EXPERT_SETS, GROUPS, HEAD_BITS, MODES
from fqconsole.app.quantize_requests import asked_of
from fqconsole.app.workspace import FitChoice
from fqconsole.cli.application import application
from fqconsole.cli.quantize import chosen_options
from tests.app.fakes import DEMO, QWEN

ASKED = type("Asked", (), {"plan_path": None})()  # what becomes of a choice by the rule needs no more
CHOICES = [
    *(FitChoice(bits=8, granularity=kind, group_size=size) for _word, kind, size in GROUPS),
    *(FitChoice(mode=mode) for mode in MODES),
    *(FitChoice(bits=3, head=bits) for bits in HEAD_BITS),
    *(FitChoice(experts=sets) for sets in EXPERT_SETS),
    FitChoice(granularity="adaptive", group_size=128),
    FitChoice(threshold=0.5),
    FitChoice(granularity="matrix"),  # of a run that is planned again
]


def typed(command):
    """The parameters that the command line reads out of a command."""
    words = shlex.split(command)
    assert words[:2] == ["fqconsole", "quantize"]
    return get_command(application).commands["quantize"].make_context("quantize", words[2:]).params


@pytest.mark.parametrize("choice", CHOICES)
def test_the_command_asks_for_what_the_console_starts(choice):
    found = typed(quantize_command(DEMO, choice))
    names = ("bits", "granularity", "group_size", "threshold", "mode", "experts", "head")
    options = chosen_options(**{name: found[name] for name in names})
    assert found["model"] == "demo"
    assert {name: options[name] for name in asked_of(choice, ASKED)} == asked_of(choice, ASKED)


def test_a_goal_is_one_option():
    assert quantize_command(DEMO, FitChoice(goal="size", target_bits=3.61, head=8)) == (
        "fqconsole quantize demo --target-bits 3.61 --mode best --head 8"
    )
    narrow = typed(quantize_command(DEMO, FitChoice(goal="loss", max_loss=0.002, widths=(4, 8, 16))))
    assert (narrow["max_loss"], narrow["widths"]) == ("0.2%", "4,8,16")
    assert typed(quantize_command(DEMO, FitChoice(widths=(4, 8, 16))))["widths"] is None  # the rule has one


def test_what_fits_is_asked_for_with_all_that_the_memory_depends_on():
    choice = FitChoice(goal="room", gpu_name="h100-80gb", gpus=2, context=4096, batch=4, mode="fast")
    assert quantize_command(QWEN, choice) == (
        "fqconsole quantize Qwen/Qwen3-8B --fit h100-80gb --gpus 2 --context 4096 --batch 4 --mode fast"
    )
    assert typed(quantize_command(QWEN, choice))["gpus"] == 2
    usual = "fqconsole quantize Qwen/Qwen3-8B --fit here --mode best"
    assert quantize_command(QWEN, FitChoice(goal="room")) == usual
    assert quantize_command(QWEN, replace(choice, kv_bits=8)) == ""  # the command counts them in 16 bits


def test_a_folder_is_named_by_its_path_in_quotes_where_it_needs_them():
    folder = msgspec.structs.replace(DEMO, id="/my models/x", source="folder", path="/my models/x")
    assert quantize_command(folder, FitChoice()) == "fqconsole quantize '/my models/x' --bits 4 --mode best"
