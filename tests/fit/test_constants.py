"""Numbers that the preview shares with rooms it may not import: the same here as there."""

import pytest

from fqconsole.fit import activations, quantize_peak
from fqconsole.fit.cpu_layout import layout_bytes, rearranges
from fqconsole.fit.host import value_bytes
from quantizer.scheme import BITS, Scheme


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
    assert {
        "host": prepared.SLICE_BYTES["cpu"],
        "gpu": prepared.SLICE_BYTES["cuda"],
    } == activations.SLICE_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [None, 16, 32, 64, 256])
@pytest.mark.parametrize("shape", [(48, 512), (50, 256), (3, 33, 512)])
def test_the_layout_on_a_cpu_is_the_kernels(bits, group, shape):
    torch = pytest.importorskip("torch")
    kernels = pytest.importorskip("kernels")
    if not rearranges("bfloat16", value_bytes("bfloat16", on_host=True)):
        pytest.skip("this CPU computes in float32, with matrices as they are stored")
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
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_other_dtypes_stay_as_they_are_stored(dtype):
    assert not rearranges(dtype, value_bytes(dtype, on_host=True))
