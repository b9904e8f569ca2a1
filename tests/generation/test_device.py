"""Devices, dtypes, threads and memory readings."""

import pytest
import torch

from fqconsole.generation.device import (
    ONE_THREAD_BYTES,
    Stopwatch,
    at_home,
    compute_dtype,
    dtype_word,
    peak_bytes,
    reset_peak,
    work_dtype,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def test_a_cpu_that_lacks_a_dtype_computes_in_float32(monkeypatch):
    for known, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(
            torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda known=known: known, raising=False
        )
        assert compute_dtype(torch.bfloat16, CPU) == expected
    assert compute_dtype(torch.float32, CPU) == torch.float32
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert compute_dtype(dtype, CUDA) == dtype


def test_packed_products_work_in_a_dtype_that_the_kernels_take():
    assert work_dtype(torch.float16, CUDA) == torch.float16
    assert work_dtype(torch.float32, CUDA) == torch.bfloat16
    assert {work_dtype(dtype, CPU) for dtype in (torch.float16, torch.float32)} == {torch.bfloat16}


def test_words_for_dtypes():
    assert [dtype_word(d) for d in (torch.bfloat16, torch.float16, torch.float32)] == ["bf16", "fp16", "fp32"]
    assert dtype_word(torch.float64) == "float64"


def test_a_small_model_runs_on_one_thread_and_gives_the_others_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with at_home(CPU, ONE_THREAD_BYTES):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with at_home(CPU, ONE_THREAD_BYTES + 1):
            assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), at_home(CPU, 0):
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_peak_grows_with_what_is_held():
    reset_peak(CPU)
    before = peak_bytes(CPU)
    held = torch.ones(64 << 20, dtype=torch.uint8)
    assert peak_bytes(CPU) >= before + held.nbytes // 2  # pages of the allocator may have been there already


def test_a_stopwatch_goes_forward():
    watch = Stopwatch(CPU)
    first, second = watch.mark(), watch.mark()
    assert watch.seconds(first, second) >= 0
    assert watch.seconds(first, second) < 1
