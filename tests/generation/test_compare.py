"""The same prompt on two models, and where the answers part."""

from fqconsole.generation.compare import compare, first_difference
from fqconsole.generation.options import Sampling


def test_the_first_difference_is_found():
    assert first_difference((1, 2, 3), (1, 2, 3)) is None
    assert first_difference((1, 2, 3), (1, 5, 3)) == 1
    assert first_difference((1, 2), (1, 2, 3)) == 2
    assert first_difference((), ()) is None


def test_equal_models_give_equal_answers_under_one_drawn_seed(tiny):
    source, _, _ = tiny("llama")
    told = []
    comparison = compare(
        source,
        source,
        prompt="Mara gave",
        sampling=Sampling(temperature=1.0, max_new_tokens=16),
        on_tokens=lambda which, text, count, rate: told.append((which, text)),
    )
    assert comparison.first_difference is None
    assert comparison.first.seed == comparison.second.seed is not None
    for which, answer in ((0, comparison.first), (1, comparison.second)):
        assert "".join(text for w, text in told if w == which) == answer.text
    assert [w for w, _ in told] == sorted(w for w, _ in told)  # one after the other


def test_different_models_part_where_their_tokens_do(tiny):
    source, packed, _ = tiny("qwen3_moe")
    comparison = compare(source, packed, prompt="Otto", sampling=Sampling(temperature=0, max_new_tokens=32))
    at = comparison.first_difference
    assert at is not None  # int3 on random weights
    assert comparison.first.token_ids[:at] == comparison.second.token_ids[:at]
    assert comparison.first.token_ids[at : at + 1] != comparison.second.token_ids[at : at + 1]
