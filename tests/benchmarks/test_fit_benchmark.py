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


@pytest.mark.parametrize(("number", "split"), [(0, "tensor parallel"), (2, "layers")])
def test_one_of_two_holds_the_part_that_is_predicted(tmp_path, number, split):
    """On a CPU the GPUs are processes, and the first one's weights stand for the fullest."""
    pytest.importorskip("torch")
    from benchmarks.fit_several import COMBINATIONS, measure

    alone, half = (measure(COMBINATIONS[number], tmp_path, gpus, "cpu", tiny=True) for gpus in (1, 2))
    assert (alone["split"], half["split"]) == ("all on one", split)
    predicted, held = (half["bytes"][i] / alone["bytes"][i] for i in (0, 1))
    assert abs(held - predicted) <= 0.03 * predicted
    assert list(tmp_path.iterdir()) == []
