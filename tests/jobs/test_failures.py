"""Exceptions become sentences: what, what next, and the right exit code."""

import errno

import pytest

from fqconsole.errors import DeviceError, UsageError
from fqconsole.jobs.failures import failure_of, is_device_lost


def raised(error, cause=None):
    try:
        raise error from cause
    except BaseException as caught:  # noqa: BLE001 - any of them
        return failure_of(caught, "r0001", "Use less.")


def test_torch_out_of_memory_as_torch_says_it():
    import torch

    message = (
        "CUDA out of memory. Tried to allocate 512.00 MiB. GPU 1 has a total capacity of 139.72 GiB of which "
        "100.25 MiB is free. Including non-PyTorch memory, this process has 139.00 GiB memory in use."
    )
    failure = raised(torch.OutOfMemoryError(message))
    assert failure.code == "out_of_memory"
    assert failure.exit_code == 4
    assert failure.what == (
        "GPU 1 ran out of memory: 0.50 GiB more was asked for, 100.25 MiB of 139.72 GiB is free."
    )
    assert failure.next_step == "Use less."


def test_a_room_that_named_the_device_gets_the_numbers_added():
    import torch

    cause = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    failure = raised(DeviceError("cuda:0 ran out of memory.", "Free it."), cause)
    assert (failure.code, failure.next_step, failure.exit_code) == ("out_of_memory", "Free it.", 4)
    assert "2.00 GiB" in failure.what


def test_the_cpu_allocator_of_torch():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    failure = failure_of(caught.value, "r0001", "Use less.")
    assert (failure.code, failure.exit_code) == ("out_of_memory", 4)
    assert failure.what.startswith("This machine ran out of memory: 1048576.00 GiB more was asked for")


@pytest.mark.parametrize(
    "message", ["CUDA error: device-side assert triggered\nCUDA kernel errors", "CUDA driver error: unknown"]
)
def test_a_broken_cuda_context_is_a_lost_device(message):
    failure = raised(RuntimeError(message))
    assert is_device_lost(RuntimeError(message))
    assert (failure.code, failure.exit_code) == ("device_lost", 4)
    assert "nvidia-smi" in failure.next_step
    assert "\n" not in failure.what


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(number):
    failure = raised(OSError(number, "full", "/x/y"))
    assert (failure.code, failure.exit_code) == ("disk_full", 1)
    assert "/x/y" in failure.what


def test_a_folder_that_may_not_be_written():
    failure = raised(PermissionError(errno.EACCES, "Permission denied", "/x/y"))
    assert failure.code == "no_access"
    assert "/x/y" in failure.what


def test_an_operators_error_keeps_its_words_and_code():
    failure = raised(UsageError("No such model.", "Name another."))
    assert (failure.what, failure.next_step, failure.code, failure.exit_code) == (
        "No such model.",
        "Name another.",
        "usage",
        2,
    )


def test_anything_else_is_one_sentence_with_the_traceback_apart():
    failure = raised(KeyError("lm_head"))
    assert (failure.code, failure.exit_code) == ("internal", 1)
    assert "\n" not in failure.what
    assert "Traceback" in failure.details


def test_an_exception_without_words_is_still_a_sentence():
    assert raised(AssertionError()).what == "Something unexpected ended the job: AssertionError"
