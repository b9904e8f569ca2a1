"""Numbers that the preview shares with rooms it may not import: the same here as there."""

import math

import pytest

from fqconsole.fit import activations, quantize_peak, scratch
from fqconsole.fit.capacity import OLDEST_FUSED
from fqconsole.fit.cpu_layout import layout_bytes, preparing_bytes, rearranges
from fqconsole.fit.gpu_layout import lane_bytes
from fqconsole.fit.host import value_bytes
from quantizer.scheme import BITS, Scheme, stored_bytes


@pytest.mark.slow
def test_the_prefill_chunk_is_generations():
    decoding = pytest.importorskip("fqconsole.generation.decoding")
    assert activations.PREFILL_CHUNK == decoding.PREFILL_CHUNK


@pytest.mark.slow
def test_the_blocks_are_no_smaller_than_the_quantizers():
    device = pytest.importorskip("quantizer.device")
    assert quantize_peak.CPU_BLOCK >= device.CPU_BLOCK
    assert quantize_peak.GPU_BLOCK >= device.GPU_BLOCK
    source = pytest.importorskip("quantizer.source")
    assert quantize_peak.COPY_BYTES >= 3 * source.READ_BLOCK


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_width_on_a_cpu_is_the_one_computed_in(dtype):
    torch = pytest.importorskip("torch")
    device = pytest.importorskip("fqconsole.generation.device")
    computed = device.compute_dtype(getattr(torch, dtype), torch.device("cpu"))
    assert value_bytes(dtype, on_host=True) == computed.itemsize
    assert value_bytes(dtype, on_host=False) == getattr(torch, dtype).itemsize


@pytest.mark.slow
def test_a_slice_is_the_kernels():
    prepared = pytest.importorskip("kernels.prepared")
    assert prepared.SLICE_BYTES["cpu"] == activations.HOST_SLICE_BYTES
    assert pytest.importorskip("kernels.prefill").SLICE_ROWS == activations.GPU_SLICE_ROWS


@pytest.mark.slow
def test_attention_is_the_kernels():
    assert pytest.importorskip("kernels.attention").SCORE_ELEMENTS == scratch.SCORES
    assert pytest.importorskip("kernels.attention_tiles").MOST_PARTS == scratch.MOST_PARTS


@pytest.mark.slow
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [None, 16, 32, 64, 256])
@pytest.mark.parametrize("shape", [(48, 512), (50, 256), (3, 33, 512)])
def test_the_layout_on_a_cpu_is_the_kernels(bits, group, shape):
    torch = pytest.importorskip("torch")
    kernels = pytest.importorskip("kernels")
    if not rearranges():
        pytest.skip("on this CPU matrices stay as they are stored")
    k = shape[-1]
    codes = torch.zeros(shape, dtype=torch.int8)
    groups = 1 if group is None else k // group
    packed = kernels.PackedMatrix(
        codes=kernels.packing.pack_codes(codes, bits),
        scales=torch.ones(*shape[:-1], groups, dtype=torch.bfloat16),
        bits=bits,
        group_size=group,
        k=k,
    )
    assert kernels.prepare(packed, dtype=torch.bfloat16).bytes == layout_bytes(shape, Scheme(bits, group))


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "group"), [(8, None), (8, 64), (4, 64), (4, 32), (3, 128)])
def test_rearranging_on_a_cpu_takes_no_more(bits, group):
    torch = pytest.importorskip("torch")
    kernels = pytest.importorskip("kernels")
    live_bytes = pytest.importorskip("tests.generation.live_bytes")
    if not rearranges():
        pytest.skip("on this CPU matrices stay as they are stored")
    n, k = 256, 1024
    scales = torch.ones(n, 1 if group is None else k // group, dtype=torch.bfloat16)
    codes = kernels.packing.pack_codes(torch.zeros((n, k), dtype=torch.int8), bits)
    packed = kernels.PackedMatrix(codes, scales, bits, group, k)
    with live_bytes.LiveBytes("cpu") as live:
        form = kernels.prepare(packed, dtype=torch.bfloat16)
    beside = live.peak - form.bytes
    assert beside <= preparing_bytes((n, k), Scheme(bits, group)) <= 1.1 * beside


@pytest.mark.slow
@pytest.mark.parametrize("bits", BITS)
def test_the_layout_on_a_gpu_is_the_kernels(bits):
    lane_layout = pytest.importorskip("kernels.lane_layout")
    for group in (None, 16, 32, 48, 64, 96, 128, 256, 512, 1024):
        for n in (1, 15, 16, 17, 128, 1000):
            for k in (1, 16, 100, 128, 255, 256, 257, 384, 768, 1024, 3072, 4096):
                if group is not None and k % group:
                    continue
                words, scales = lane_layout.lane_shapes(bits, group, n, k)
                held = 4 * (math.prod(words) + math.prod(scales))
                assert lane_bytes((n, k), Scheme(bits, group)) == held
                assert lane_bytes((5, n, k), Scheme(bits, group)) == 5 * held
    assert lane_bytes((32, 80), Scheme(bits, 8)) == stored_bytes((32, 80), Scheme(bits, 8))
    with pytest.raises(ValueError, match="multiple of 16"):
        lane_layout.lane_shapes(bits, 8, 32, 80)


@pytest.mark.slow
def test_the_oldest_gpu_of_the_kernels_is_theirs():
    assert pytest.importorskip("kernels.gpu").OLDEST_CAPABILITY == OLDEST_FUSED


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_packed_products_on_a_cpu_take_bf16_whatever_a_model_computes_in(dtype):
    torch = pytest.importorskip("torch")
    device = pytest.importorskip("fqconsole.generation.device")
    cpu = torch.device("cpu")
    computed = device.compute_dtype(getattr(torch, dtype), cpu)
    assert device.work_dtype(computed, cpu) == torch.bfloat16
