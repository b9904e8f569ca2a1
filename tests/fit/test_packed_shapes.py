"""A stored matrix counts as what the device makes of it, whatever its width, groups and length of rows."""

import math

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fqconsole.fit import preview
from fqconsole.fit.alike import one_of_each
from fqconsole.fit.cpu_layout import layout_bytes, rearranges
from fqconsole.fit.gpu_layout import lane_bytes
from fqconsole.fit.pieces import planned, stored
from fqconsole.models.description import QuantizationInfo, TensorInfo
from quantizer.scheme import BITS, Scheme, words_per_row
from tests.fit.synthetic import GIB, gpu, host, llama

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LEAST_K = 25  # so that one width alone explains the words of a row


def packed_llama(schemes, *, main, groups, shapes=True, **shape):
    """`llama()` with its matrices packed, by their last names; `shapes`: as a folder tells them."""
    plain = llama(layers=1, **shape)
    tensors, place = [], 0

    def add(name, dtype, shape, width, unpacked=()):
        nonlocal place
        end = place + math.prod(shape) * width
        tensors.append(TensorInfo(name, dtype, shape, "model.safetensors", place, end, unpacked))
        place = end

    for tensor in plain.tensors:
        scheme = schemes.get(tensor.name.removesuffix(".weight").rpartition(".")[2])
        if scheme is None:
            add(tensor.name, "BF16", tensor.shape, 2)
            continue
        n, k = tensor.shape
        words = (n, words_per_row(k, scheme.bits))
        add(f"{tensor.name}_packed", "I32", words, 4, (n, k) if shapes else ())
        add(f"{tensor.name}_scale", "BF16", (n, scheme.groups(k)), 2)
    info = QuantizationInfo("compressed-tensors", main, groups, made_by_fqconsole=True)
    return msgspec.structs.replace(plain, tensors=tuple(tensors), bytes=place, quantization=info)


def pieces_of(model):
    found = stored(one_of_each(model), 2).pieces
    return {piece.name.rpartition(".")[2]: piece for piece in found if piece.scheme is not None}


def as_loaded(scheme, k):
    return Scheme(scheme.bits, None) if scheme.group_size == k else scheme


@pytest.mark.slow
@settings(max_examples=150)
@given(
    n=st.integers(1, 70),
    row=st.tuples(st.sampled_from([None, 16, 32, 64, 96, 128]), st.integers(1, 20)),
    length=st.integers(LEAST_K, 700),
    bits=st.sampled_from(BITS),
    main=st.sampled_from(BITS),
)
def test_what_a_folder_holds_counts_as_the_kernels_hold_it(n, row, length, bits, main):
    torch = pytest.importorskip("torch")
    kernels = pytest.importorskip("kernels")
    lanes = pytest.importorskip("kernels.lane_layout")
    group, groups = row
    k = length if group is None else groups * group
    assume(k >= LEAST_K)
    tensor = TensorInfo("layers.0.x.weight_packed", "I32", (n, words_per_row(k, bits)), "m", 0, 0, (n, k))
    scales = TensorInfo("layers.0.x.weight_scale", "BF16", (n, 1 if group is None else groups), "m", 0, 0)
    info = QuantizationInfo("compressed-tensors", main, (64, group), made_by_fqconsole=False)
    model = msgspec.structs.replace(llama(layers=1), tensors=(tensor, scales), quantization=info)
    piece = pieces_of(model)["x"]
    loaded = as_loaded(Scheme(bits, group), k)
    assert (piece.shape, piece.scheme) == ((n, k), loaded)
    words, scale_words = lanes.lane_shapes(bits, loaded.group_size, n, k)
    assert lane_bytes(piece.shape, piece.scheme) == 4 * (math.prod(words) + math.prod(scale_words))
    if rearranges():
        held = kernels.PackedMatrix(
            kernels.packing.pack_codes(torch.zeros((n, k), dtype=torch.int8), bits),
            torch.ones(n, loaded.groups(k), dtype=torch.bfloat16),
            bits,
            loaded.group_size,
            k,
        )
        assert layout_bytes(piece.shape, piece.scheme) == kernels.prepare(held, dtype=torch.bfloat16).bytes


SHAPES = [
    {"hidden": 104, "inner": 200, "heads": 4},
    {"hidden": 256, "inner": 512, "heads": 4},
    {"hidden": 512, "inner": 256, "heads": 8},
    {"hidden": 100, "inner": 99, "heads": 5},
]
MIXED = [
    (4, {"q_proj": 8, "k_proj": 8, "v_proj": 8, "o_proj": 4, "gate_proj": 4, "up_proj": 4, "down_proj": 8}),
    (4, {"q_proj": 4, "k_proj": 4, "v_proj": 4, "o_proj": 8, "gate_proj": 8, "up_proj": 8, "down_proj": 3}),
    (3, {"q_proj": 3, "k_proj": 3, "v_proj": 3, "o_proj": 3, "gate_proj": 3, "up_proj": 3, "down_proj": 3}),
    (8, {"q_proj": 8, "k_proj": 8, "v_proj": 8, "o_proj": 4, "gate_proj": 3, "up_proj": 3, "down_proj": 4}),
]


@pytest.mark.parametrize("shapes", [True, False], ids=["folder", "hub"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape['hidden']}x{shape['inner']}")
@pytest.mark.parametrize(("main", "bits"), MIXED)
def test_whole_rows_of_several_widths(shapes, shape, main, bits):
    """Also where no shape can be read: int8 rows are no int4 rows of twice the length."""
    schemes = {name: Scheme(width, None) for name, width in bits.items()}
    model = packed_llama(schemes, main=main, groups=(None,), shapes=shapes, **shape)
    plain = {
        tensor.name.removesuffix(".weight").rpartition(".")[2]: tensor.shape
        for tensor in llama(layers=1, **shape).tensors
    }
    found = pieces_of(model)
    assert found.keys() == schemes.keys()
    for name, piece in found.items():
        assert (piece.shape, piece.scheme) == (plain[name], schemes[name])


@pytest.mark.parametrize("shapes", [True, False], ids=["folder", "hub"])
def test_groups_of_several_widths(shapes):
    """As many words and scales as int4 in groups of 64: int8 in groups of 32, in rows half as long."""
    schemes = {name: Scheme(4, 64) for name in ("o_proj", "gate_proj", "up_proj")}
    schemes |= {name: Scheme(8, 32) for name in ("q_proj", "k_proj", "v_proj", "down_proj")}
    model = packed_llama(schemes, main=4, groups=(64, 32), shapes=shapes, hidden=256, inner=512, heads=4)
    assert {name: piece.scheme for name, piece in pieces_of(model).items()} == schemes


def test_a_shape_that_its_words_deny_is_not_believed():
    model = packed_llama({"o_proj": Scheme(4, 64)}, main=4, groups=(64,))
    truth = pieces_of(model)["o_proj"]
    for lie in ((256, 1 << 39), (255, 256), (256,), (256, 255)):
        tensors = tuple(
            msgspec.structs.replace(tensor, unpacked=lie) if tensor.unpacked else tensor
            for tensor in model.tensors
        )
        assert pieces_of(msgspec.structs.replace(model, tensors=tensors))["o_proj"] == truth


@pytest.mark.parametrize("shapes", [True, False], ids=["folder", "hub"])
def test_a_checkpoint_takes_what_was_planned(shapes):
    """Cache and scratch too: the rows that a prompt unpacks are as long as they are, not as their words."""
    shape = {"hidden": 1024, "inner": 8192, "heads": 16, "kv_heads": 4, "vocab": 9000}
    schemes = dict.fromkeys(PROJECTIONS, Scheme(4, 64))
    packed = packed_llama(schemes, main=4, groups=(64,), shapes=shapes, **shape)
    plain = llama(layers=1, **shape)
    for place in (gpu(GIB), host()):
        for context in (64, 512, 4096):
            made = [
                preview(model, place, bits=(4,), gpu_counts=(1, 2), context=context).options
                for model in (packed, plain)
            ]
            for stored_one, planned_one in zip(*made, strict=True):
                assert stored_one.activation_bytes == planned_one.activation_bytes
                assert stored_one.total_bytes_per_gpu == planned_one.total_bytes_per_gpu


def test_a_group_as_long_as_the_row_is_the_row():
    """So it is loaded: with one scale a row."""
    model = llama(hidden=64, inner=128, heads=2, kv_heads=2)
    pieces = planned(one_of_each(model), 4, 64, 2).pieces
    assert {piece.shape[-1]: piece.scheme for piece in pieces if piece.scheme} == {
        64: Scheme(4, None), 128: Scheme(4, 64),
    }  # fmt: skip
