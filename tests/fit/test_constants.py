"""Numbers that the preview shares with rooms it may not import: the same here as there."""

import pytest

from fqconsole.fit import activations, quantize_peak
from fqconsole.fit.host import value_bytes


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
