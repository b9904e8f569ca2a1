"""Modes and single methods as words."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.cli.quantize import quantize
from fqconsole.errors import UsageError
from quantizer.methods import DEFAULT_MODE, MODES, Methods, methods_of, mode_word

methods = st.builds(
    Methods,
    scales=st.sampled_from(["absmax", "signed", "search"]),
    power=st.sampled_from([1.0, 2.0, 2.4, 8.0]),
    importance=st.booleans(),
    balance=st.booleans(),
)


@given(methods)
def test_every_choice_has_a_word_that_reads_back(choice):
    assert methods_of(mode_word(choice)) == choice


def test_modes_are_read_by_their_names():
    assert {word: methods_of(word) for word in MODES} == MODES
    assert mode_word(methods_of("search+importance+balance")) == "best"


@pytest.mark.parametrize("word", ["", "worst", "search+", "p=0.5", "p=9", "p=two", "search=1", "balance=2"])
def test_what_does_not_exist_is_refused_with_what_does(word):
    with pytest.raises(UsageError) as refused:
        methods_of(word)
    assert refused.value.next_step


def test_the_command_offers_the_default_mode():
    assert inspect.signature(quantize).parameters["mode"].default == DEFAULT_MODE
