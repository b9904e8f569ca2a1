"""What an exception in a worker becomes: a sentence for the operator, a code and an exit code."""

import errno
import re
import time
import traceback

from fqconsole.errors import DeviceError, OperatorError
from fqconsole.jobs.messages import JobFailed

OUT_OF_MEMORY = "out_of_memory"
DEVICE_LOST = "device_lost"
GIB = 2**30

_ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)")
_GPU = re.compile(r"GPU (\d+) has a total capacity of ([\d.]+ [KMG]iB) of which ([\d.]+ [KMG]iB) is free")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)


def failure_of(error: BaseException, run_id: str, smallest_change: str) -> JobFailed:
    """The last event of a run that `error` ended.

    `smallest_change` is the imperative sentence for a run that went out of memory: the least that helps.
    """
    what, next_step, code, exit_code = _sentences(error, smallest_change)
    return JobFailed(
        t=time.time(),
        run_id=run_id,
        code=code,
        what=what,
        next_step=next_step,
        exit_code=exit_code,
        details="".join(traceback.format_exception(error)),
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Memory of the device or of the host ran out; what was allocated before is still good."""
    # Torch's class is known by its name, because a worker that only downloads never loads torch.
    return (
        isinstance(error, MemoryError)
        or "OutOfMemoryError" in _class_names(error)
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )


def is_device_lost(error: BaseException) -> bool:
    """The CUDA context is beyond use: every later call in this process would fail too."""
    return "AcceleratorError" in _class_names(error) or (
        isinstance(error, RuntimeError)
        and re.match(r"(CUDA error|CUDA driver error|cuDNN error)", str(error)) is not None
    )


def _class_names(error: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


def _sentences(error: BaseException, smallest_change: str) -> tuple[str, str, str, int]:
    """What, next step, code and exit code."""
    cause = error.__cause__
    if isinstance(error, DeviceError) and cause is not None and is_out_of_memory(cause):
        # The room below has said it already; the numbers are in what torch said.
        return _memory_sentence(str(cause)), error.next_step, OUT_OF_MEMORY, error.exit_code
    if is_out_of_memory(error):
        return _memory_sentence(str(error)), smallest_change, OUT_OF_MEMORY, DeviceError.exit_code
    if is_device_lost(error):
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return (
            f"The GPU was lost while it worked: {first}.".replace("..", "."),
            "Run `nvidia-smi` to see whether it answers, then start the job again; finished work is kept.",
            DEVICE_LOST,
            DeviceError.exit_code,
        )
    if isinstance(error, OperatorError):
        return error.what, error.next_step, error.code, error.exit_code
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return (
            f"The disk is full{_at(error)}.",
            "Make room or choose a folder on another disk, then start again: finished work is kept.",
            "disk_full",
            1,
        )
    if isinstance(error, OSError) and error.errno in _NO_ACCESS:
        return (
            f"There is no permission to read or write{_at(error)}.",
            "Choose another folder, or change the permissions of this one.",
            "no_access",
            1,
        )
    text = str(error).strip().splitlines()
    said = f": {text[0][:300]}" if text else ""
    return (
        f"Something unexpected ended the job: {type(error).__name__}{said}",
        "The log holds the whole traceback; please report it with that.",
        "internal",
        1,
    )


def _at(error: OSError) -> str:
    return f" at {error.filename}" if error.filename else ""


def _memory_sentence(message: str) -> str:
    asked = _ASKED.search(message)
    wanted = ""
    if asked:
        size = float(asked[1]) * _UNITS[asked[2]]
        wanted = f": {size / GIB:.2f} GiB more was asked for"
    gpu = _GPU.search(message)
    if gpu:
        return f"GPU {gpu[1]} ran out of memory{wanted}, {gpu[3]} of {gpu[2]} is free."
    if "OutOfMemoryError" in message or message.startswith("CUDA"):
        return f"The GPU ran out of memory{wanted}."
    return f"This machine ran out of memory{wanted}."
