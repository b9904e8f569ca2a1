"""The benchmark of the preview: what it fills a model with is what the preview counts."""

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "bits"), [("llama-3-8b", 4), ("qwen3-30b-a3b", 3), ("gemma-3-12b", 16), ("opt-30b", 16)]
)
def test_weights_and_cache_are_as_predicted(name, bits):
    pytest.importorskip("torch")
    from benchmarks.fit import measure

    terms = measure((name, bits, 96, 2), "cpu", tiny=True)["terms"]
    predicted, held = terms["weights"]
    assert predicted <= held <= predicted + 1024  # rotary frequencies
    assert terms["kv"][0] == terms["kv"][1]


def test_every_combination_has_a_shape_and_there_are_enough():
    from benchmarks._shapes import SHAPES
    from benchmarks.fit import COMBINATIONS

    assert len(COMBINATIONS) >= 12
    assert {name for name, *_ in COMBINATIONS} <= set(SHAPES)
