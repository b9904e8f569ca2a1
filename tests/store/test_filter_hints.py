"""What the filter offers while it is typed: what is offered can be read, and is in the record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import FilterError, Store
from store.filters import parse
from tests.store.conftest import T

GIB = 2**30


@pytest.fixture
def seeded(store, add):
    add("quantize", "Qwen/Qwen3-8B", bits=4, group_size=64, tags=["demo", "paper"], note="two words",
        metrics={"perplexity": 9.81, "bytes": 6 * GIB})  # fmt: skip
    add("generate", "demo", bits=16, started=T + 1, end="failed", note='a "quoted" note')
    add("evaluate", "demo", bits=4, group_size=0, started=T + 2, metrics={"perplexity": 12.0})
    return store


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("mo", ("model:",)),
        ("bits<=4 sta", ("status:", "started<")),
        ("pp", ("ppl<",)),
        ("tok", ("tok_s>",)),
        ("model:", ("demo", "Qwen/Qwen3-8B")),
        ("model:QW", ("Qwen/Qwen3-8B",)),
        ("-status:f", ("failed",)),
        ("kind:quantize,ev", ("evaluate",)),
        ("tag:", ("demo", "paper")),
        ("bits:", ("3", "4", "8", "16")),
        ("group:", ("64", "channel")),
        ("group<", ("64",)),
        ("note:two", ('"two words"',)),
        ('note:"two w', ('"two words"',)),
        ("size<8", ("8GiB",)),
        ("started>=y", ("yesterday",)),
        ('"red lantern"', ()),
        ("zzz", ()),
    ],
)
def test_what_is_offered(seeded, typed, offered):
    assert seeded.filter_hint(typed).options == offered


def test_nothing_typed_offers_the_columns_that_are_used_most(seeded):
    assert seeded.filter_hint("").options[:3] == ("bits<=", "model:", "kind:")
    assert seeded.filter_hint('bits<=4 "red lantern" ').options == seeded.filter_hint("").options


def test_an_option_completes_the_filter(seeded):
    assert seeded.filter_hint("bits<=4 model:q").filled() == "bits<=4 model:Qwen/Qwen3-8B"
    assert seeded.filter_hint("kind:quantize,ev").filled() == "kind:quantize,evaluate"
    assert seeded.filter_hint("zzz").filled() == "zzz"


def test_a_number_is_told_with_its_range(seeded):
    assert seeded.filter_hint("ppl<").about == "perplexity: 9.81 to 12.0"
    assert seeded.filter_hint("kl<").about == "kl_divergence: not known of any run"
    assert seeded.filter_hint("size<").about == "bytes: 6.0 GiB to 6.0 GiB"


def test_an_unknown_column_names_the_nearest(seeded):
    assert "Did you mean model?" in seeded.filter_hint("modle:x").about


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("hints") / "runs.db") as store:
        yield store


@given(st.text(alphabet='abdegiklmnoprst:=<>!-," 48', max_size=24))
def test_whatever_is_typed_there_is_a_hint_and_it_keeps_what_was_typed(empty, typed):
    found = empty.filter_hint(typed)
    assert typed.startswith(found.before)


@pytest.mark.parametrize(
    "typed", ["model:", "tag:", "bits<=", "group:", "size<", "age<", "started>", "note:"]
)
def test_every_offered_value_is_a_filter(seeded, typed):
    hint = seeded.filter_hint(typed)
    for place in range(len(hint.options)):
        assert parse(hint.filled(place)).sql


def test_an_error_among_several_terms_says_where():
    with pytest.raises(FilterError) as caught:
        parse("bits<=4  ppl<low demo")
    assert caught.value.what.startswith("At character 10, in “ppl<low”: “low” is no number")
    with pytest.raises(FilterError) as caught:
        parse("ppl<low")
    assert caught.value.what.startswith("“low” is no number")
