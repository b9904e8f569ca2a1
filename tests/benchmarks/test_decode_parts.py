"""The benchmark of the kernels between the matmuls: every part can be called, and counts its bytes."""

import pytest


@pytest.mark.parametrize("model", ["tiny", "deepseek-v3"])
def test_every_part_runs_and_none_is_missing(model):
    pytest.importorskip("torch")
    from benchmarks.decode_parts import MODELS, parts_of

    parts = list(parts_of(MODELS[model], 2, [16], "cpu"))
    names = {part.name.split()[0] for part in parts}
    assert names == {"attend", "rotate", "norm", "choose", "route", "router", "gate", "combine"}
    for part in parts:
        if model == "tiny" or part.name != "choose":
            part.call()()
    attend = next(part for part in parts if part.name == "attend 16")
    shape = MODELS[model]
    widths = shape.head_dim if shape.latent else 2 * shape.head_dim
    assert attend.bytes == 2 * 2 * shape.kv_heads * 16 * widths
