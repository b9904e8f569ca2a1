"""On a GPU the same bytes are written as on the CPU."""

import subprocess
import sys

import msgspec
import pytest
import torch

from fqconsole.errors import DeviceError, OperatorError
from quantizer.absorption import find_channels
from quantizer.balancing import _Chooser, _magnitudes
from quantizer.base import base_plan
from quantizer.blocks import quantize_rows, takes_kernel
from quantizer.channels import Columns
from quantizer.checkpoint import find_unfinished
from quantizer.device import device_failures
from quantizer.engine import analyse, quantize
from quantizer.granularity import measure_ranges
from quantizer.methods import methods_of
from quantizer.plan import MatrixPlan, Plan
from quantizer.preparing import prepare_kernels
from quantizer.scheme import Scheme
from tests.quantizer.measured_rows import measured
from tests.quantizer.synthetic_models import save_llama
from tests.quantizer.test_engine import digest


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_gpu_writes_the_bytes_of_the_cpu(tmp_path, bits, dtype):
    description = save_llama(tmp_path / "m", hidden=256, inner=512, dtype=dtype)
    plan = analyse(description, bits=bits, device="cuda")
    assert plan == analyse(description, bits=bits, device="cpu")
    for device in ("cuda", "cpu"):
        quantize(description, plan, tmp_path / device, device=device)
    on_gpu, on_cpu = digest(tmp_path / "cuda"), digest(tmp_path / "cpu")
    assert {name for name in on_cpu if on_cpu[name] != on_gpu[name]} <= {"fqconsole_manifest.json"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("mode", ["finequant", "fast", "search"])
@pytest.mark.parametrize("group_size", [None, 16, 32, 64, 128, 256])
def test_every_group_size_is_written_as_on_the_cpu(tmp_path, mode, group_size):
    """Groups of 16 to 128 in one pass of a kernel, others by plain torch."""
    description = save_llama(tmp_path / "m", hidden=256, inner=512)
    plan = analyse(
        description,
        bits=4,
        granularity="fixed",
        group_size=group_size,
        methods=methods_of(mode),
        device="cpu",
    )
    for device in ("cuda", "cpu"):
        quantize(description, plan, tmp_path / device, device=device)
    on_gpu, on_cpu = digest(tmp_path / "cuda"), digest(tmp_path / "cpu")
    assert {name for name in on_cpu if on_cpu[name] != on_gpu[name]} <= {"fqconsole_manifest.json"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("scale_dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("method", ["absmax", "signed", "search"])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_a_million_groups_are_those_of_the_cpu(bits, method, scale_dtype, dtype):
    generator = torch.Generator().manual_seed(bits)
    n, k = 1000, 16384
    rows = torch.randn(n, k, generator=generator) * torch.rand(n, 1, generator=generator) * 0.1
    rows = rows.to(dtype)
    columns = Columns(
        torch.rand(k, generator=generator) + 0.5,
        torch.rand(n, generator=generator) + 0.5,
        torch.rand(k, generator=generator) * 9 + 1e-4 if method == "search" else None,
    )
    for group_size in (16, 32, 64, 128):
        matrix = MatrixPlan("m", ("m.weight",), (n, k), 0, "m", "m", Scheme(bits, group_size))
        plan = Plan("m", None, bits, "fixed", group_size, 0.7, scale_dtype, (matrix,), ())
        plan = msgspec.structs.replace(plan, methods=methods_of(method))
        assert takes_kernel(rows.cuda(), matrix.scheme, plan.methods)
        right = quantize_rows(rows, matrix, plan, "m", columns=columns)
        found = quantize_rows(rows.cuda(), matrix, plan, "m", columns=columns.to(torch.device("cuda")))
        assert torch.equal(found.scales.cpu(), right.scales)
        assert torch.equal(found.packed.cpu(), right.packed)
        assert found.squared_error == pytest.approx(right.squared_error, rel=1e-5)
        assert found.squared_norm == pytest.approx(right.squared_norm, rel=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("mode", ["best", "search+balance", "signed+balance", "absmax+balance"])
def test_channels_are_balanced_as_the_plain_way_does(tmp_path, bits, mode):
    """Candidate by candidate; on the GPU what is chosen is what the CPU chooses."""
    description = save_llama(tmp_path / "m", hidden=512, inner=1536, edit=stand_out)
    draft = base_plan(description, bits, "fixed", 64, methods=methods_of(mode))
    found = find_channels(description, draft.matrices, draft.kept)
    chooser = _Chooser(tmp_path / "m", description, draft, found)
    gpu = torch.device("cuda", 0)
    chooser.learn(measured(chooser.row_norms(gpu), gpu))
    for held in found:
        read = chooser.read(held)
        known = chooser._norms[held.producer] if held.of_rows else _magnitudes(read.norm, held)
        candidates, errors = chooser._try_on_gpu(held, read, known, gpu)
        right, right_errors = chooser._try(held, read, known.to(gpu))
        assert candidates == right
        assert errors == pytest.approx(right_errors, rel=1e-5)
        assert chooser.choose(held, read, gpu) == chooser.choose(held, read, torch.device("cpu"))


def stand_out(tensors):
    """Some columns stand out of the weights, and the norms differ."""
    generator = torch.Generator().manual_seed(1)
    for index, (name, tensor) in enumerate(tensors.items()):
        if "norm" in name:
            tensor.mul_(torch.exp2(torch.randn(len(tensor), generator=generator)))
        else:
            tensor[:, index::29] *= 16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("method", ["absmax", "signed", "search"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_told_by_name(method, value):
    rows = torch.ones(4, 256, dtype=torch.bfloat16, device="cuda")
    rows[2, 100] = value
    matrix = MatrixPlan("m", ("m.weight",), (4, 256), 0, "m", "m", Scheme(4, 64))
    plan = Plan("m", None, 4, "fixed", 64, 0.7, "bfloat16", (matrix,), ())
    with pytest.raises(OperatorError, match="m holds weights that are not finite"):
        quantize_rows(rows, matrix, msgspec.structs.replace(plan, methods=methods_of(method)), "m")
    with pytest.raises(OperatorError, match="m holds weights that are not finite"):
        measure_ranges(rows, "m")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_kernels_are_compiled_beside_a_job_that_launches_them(tmp_path):
    """Whoever comes first, both end, and with the same bytes."""
    description = save_llama(tmp_path / "m", hidden=256, inner=512)
    plan = base_plan(description, 3, methods=methods_of("best"))
    thread = prepare_kernels(description, plan, torch.device("cuda", 0), analysing=True)
    assert analyse(description, bits=3, device="cuda") == analyse(description, bits=3, device="cpu")
    if thread is not None:  # this Triton compiles several at a time
        thread.join(timeout=120)
        assert not thread.is_alive()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("k", [256, 4096, 14336, 4000])
def test_ranges_are_those_of_the_cpu(k):
    rows = (torch.randn(64, k) * 0.02).bfloat16()
    found, right = measure_ranges(rows.cuda()), measure_ranges(rows)
    assert found.means == pytest.approx(right.means, rel=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("mode", ["finequant", "fast", "best"])
def test_the_gpu_holds_less_than_four_times_the_largest_matrix(tmp_path, mode):
    description = save_llama(tmp_path / "m", layers=1, hidden=4096, inner=8192)
    largest = 2 * 8192 * 4096
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    plan = analyse(description, bits=4, methods=methods_of(mode), device="cuda:0")
    quantize(description, plan, tmp_path / "out", device="cuda:0")
    assert torch.cuda.max_memory_allocated() < 4 * largest


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no two GPUs here")
def test_several_gpus_share_a_model_and_write_the_bytes_of_one(tmp_path):
    description = save_llama(tmp_path / "m", layers=8, hidden=1024, inner=4096, shards=2)
    plan = analyse(description, bits=4, device="cuda:0")
    quantize(description, plan, tmp_path / "one", device="cuda:0")
    for index in range(torch.cuda.device_count()):
        torch.cuda.reset_peak_memory_stats(index)
    quantize(description, plan, tmp_path / "all", device="cuda")
    assert all(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))
    assert digest(tmp_path / "one") == digest(tmp_path / "all")


LOSING = """
import sys
from pathlib import Path

import torch

from fqconsole.errors import DeviceError
from tests.quantizer.synthetic_models import describe
from quantizer import streaming
from quantizer.engine import analyse, quantize

rows_before, calls = streaming.quantize_rows, []

def losing(*arguments, **options):
    calls.append(1)
    if len(calls) == 10:
        torch.zeros(4, device=sys.argv[2])[torch.tensor([1 << 20], device=sys.argv[2])].cpu()
    return rows_before(*arguments, **options)

streaming.quantize_rows = losing
place = Path(sys.argv[1])
description = describe(place / "m")
try:
    quantize(description, analyse(description, bits=4, device="cpu"), place / "out", device=sys.argv[2],
             part_bytes=30_000)
except DeviceError as lost:
    print(lost.what)
"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_device_that_is_really_lost_is_a_sentence_and_the_next_process_goes_on(tmp_path):
    """An index out of range ends the CUDA context of its process: nothing runs there any more."""
    description = save_llama(tmp_path / "m", hidden=256, inner=512)
    command = [sys.executable, "-c", LOSING, str(tmp_path), "cuda:0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert "cuda:0 was lost" in done.stdout, done.stdout + done.stderr
    assert find_unfinished(tmp_path / "out").finished_parts > 0
    plan = analyse(description, bits=4, device="cpu")
    for name in ("out", "whole"):
        quantize(description, plan, tmp_path / name, device="cuda:0", part_bytes=30_000)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def test_running_out_of_device_memory_is_a_sentence():
    with pytest.raises(DeviceError, match="ran out of memory"), device_failures(torch.device("cuda:0")):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_lost_device_is_a_sentence_and_other_errors_are_themselves():
    with (
        pytest.raises(DeviceError, match=r"was lost.*goes on where it was"),
        device_failures(torch.device("cuda:0")),
    ):
        raise RuntimeError("CUDA error: unspecified launch failure")
    with pytest.raises(RuntimeError, match="shape"), device_failures(torch.device("cpu")):
        raise RuntimeError("shape mismatch")
