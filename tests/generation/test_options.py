"""Options are checked and seeded without torch."""

import subprocess
import sys

import pytest

from fqconsole.generation.options import Sampling, problem, with_seed


def test_a_seed_is_drawn_once_and_kept():
    drawn = with_seed(Sampling())
    assert drawn.seed is not None
    assert with_seed(drawn) == drawn
    assert len({with_seed(Sampling()).seed for _ in range(20)}) > 1


def test_greedy_needs_no_seed():
    assert with_seed(Sampling(temperature=0)).seed is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": 1.0}, "min_p"),
        ({"top_k": -1}, "top_k"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"seed": -1}, "seed"),
        ({"temperature": float("nan")}, "temperature"),
        ({"repetition_penalty": float("inf")}, "repetition_penalty"),
        ({"max_new_tokens": 2**70}, "max_new_tokens"),
        ({"top_k": 2**70}, "top_k"),
        ({"stop": ("",)}, "stop string"),
    ],
)
def test_options_that_make_no_sense_are_named(changes, word):
    assert word in problem(Sampling(**changes))


def test_the_defaults_make_sense():
    assert problem(Sampling()) == ""


def test_neither_room_loads_torch_before_it_is_used():
    code = "import sys, fqconsole.generation.options, fqconsole.evaluation; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
