"""Random weights that stand in for a model's."""

import pytest


@pytest.mark.slow
def test_biases_are_zero_and_norms_one():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from benchmarks._random_model import fill, model_of
    from benchmarks._shapes import config_of

    fields = config_of("opt-30b", tiny=True)
    description, model = model_of(transformers.CONFIG_MAPPING["opt"].from_dict(fields))
    fill(model, description, 4, torch.device("cpu"))
    biases = {name: p for name, p in model.named_parameters() if name.endswith("bias")}
    ones = {name: p for name, p in model.named_parameters() if p.dim() == 1 and name not in biases}
    assert biases
    assert all(not parameter.any() for parameter in biases.values())
    assert ones
    assert all(bool((parameter == 1).all()) for parameter in ones.values())
