"""Several GPUs in the preview: how they split a model, what each holds, how they work together."""

import msgspec
import pytest

from fqconsole.fit import preview
from tests.fit.synthetic import GIB, gpu, llama


def test_a_tied_head_is_held_on_every_gpu_that_has_layers():
    model = llama(tied_embeddings=True, vocab=50_000, kv_heads=1)
    embedding = 50_000 * 256 * 2
    found = preview(model, gpu(GIB), bits=(16,), gpu_counts=(1, 2, 4))
    assert found.option(16, 1).weights_bytes == model.bytes
    layers = model.bytes - embedding
    for gpus in (2, 4):
        option = found.option(16, gpus)
        assert option.split == "layers"
        assert embedding + layers / gpus <= option.weights_bytes <= embedding + layers / gpus + 1000


def test_gpus_share_the_matrices_where_heads_and_features_go_up_and_else_the_layers():
    model = llama(layers=8, hidden=512, inner=1024, heads=8, kv_heads=4)
    found = preview(model, gpu(GIB), bits=(16, 4), gpu_counts=(1, 2, 4, 8))
    assert [option.split for option in found.options] == [
        "all on one", "tensor parallel", "tensor parallel", "layers",
    ] * 2  # fmt: skip
    norms = sum(tensor.bytes for tensor in model.tensors if "norm" in tensor.name)
    two = found.option(16, 2)
    assert two.weights_bytes == norms + (model.bytes - norms) // 2
    assert two.kv_bytes == found.option(16, 1).kv_bytes // 2
    (told,) = preview(model, gpu(GIB), bits=(16,), gpu_counts=(2,), split="layer").options
    assert told.split == "layers"
    foreign = preview(msgspec.structs.replace(model, family=""), gpu(GIB), bits=(4,), gpu_counts=(1, 2))
    alone, more = foreign.options
    assert (more.split, more.total_bytes_per_gpu) == ("all on one", alone.total_bytes_per_gpu)


def test_unequal_gpus_get_layers_by_their_room():
    model = llama(layers=32, hidden=4096, inner=14336, heads=32, kv_heads=8, vocab=128256)
    capacity = gpu(14 * GIB, free_per_gpu=(14 * GIB, 8 * GIB))
    alone, both = preview(model, capacity, bits=(16,), gpu_counts=(1, 2), context=512).options
    assert alone.verdict == "does not fit"
    # Halves of 7.5 GiB and what comes on top would not go into the second.
    assert (both.verdict, both.split) == ("fits", "layers")
    assert both.total_bytes_per_gpu < both.capacity_bytes
    assert both.smallest_change == ""
    less = gpu(12 * GIB, free_per_gpu=(12 * GIB, 2 * GIB))
    (short,) = preview(model, less, bits=(16,), gpu_counts=(2,), context=512).options
    assert short.verdict == "does not fit"


def test_a_gpu_too_small_for_a_layer_is_no_place_for_a_session():
    capacity = gpu(24 * GIB, free_per_gpu=(24 * GIB, 24 * GIB, GIB >> 2))
    two, three = preview(llama(), capacity, bits=(4,), gpu_counts=(2, 3)).options
    assert (two.verdict, three.verdict) == ("fits", "does not fit")


def test_gpus_that_share_the_layers_work_one_after_the_other():
    model = llama(layers=40, kv_heads=1)
    speed = (10**12,)
    one, two = preview(model, gpu(GIB, bandwidth_per_gpu=speed), bits=(4,), gpu_counts=(1, 2)).options
    assert one.decode_tok_s == pytest.approx(two.decode_tok_s)
    mixed = gpu(GIB, free_per_gpu=(GIB, GIB), bandwidth_per_gpu=(10**12, 10**11))
    (slow,) = preview(model, mixed, bits=(4,), gpu_counts=(2,)).options
    assert slow.decode_tok_s < two.decode_tok_s / 2


def test_gpus_that_share_the_matrices_work_at_once():
    model = llama(layers=40)
    here = gpu(2 * GIB, bandwidth_per_gpu=(10**12,))
    one, two = preview(model, here, bits=(4,), gpu_counts=(1, 2)).options
    assert two.split == "tensor parallel"
    assert two.decode_tok_s == pytest.approx(2 * one.decode_tok_s, rel=0.05)
    assert two.step_bytes == pytest.approx(one.step_bytes, rel=0.05)
