"""A job that goes wrong in the way its `text_path` names."""

import errno
import os
import signal
import sys
import time

from fqconsole.errors import DoesNotFitError

smallest_change = "Use a smaller --window."


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def run(request, desk):
    """Raise, die or hang."""
    way = request.text_path
    if way == "operator":
        raise DoesNotFitError("It does not fit.", "Use fewer bits.")
    if way == "gpu memory":
        raise OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.65 GiB "
            "of which 1.50 GiB is free. Process 1 has 78 GiB memory in use."
        )
    if way == "host memory":
        raise MemoryError
    if way == "device":
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with ...")
    if way == "disk":
        raise OSError(errno.ENOSPC, "No space left on device", "/data/x.safetensors")
    if way == "bug":
        raise KeyError("lm_head")
    if way == "segfault":
        print("last words of a library", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if way == "exit":
        os._exit(7)
    if way == "deaf":
        # Neither the request nor SIGTERM helps against this one.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        desk.watch.log("info", "deaf")
        while True:
            time.sleep(1)
    if way == "stuck":
        # Deep in native code: the request is not looked at, SIGTERM's default still works.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        desk.watch.log("info", "stuck")
        while True:
            time.sleep(1)
    if way == "child":
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        os.write(2, f"child {child}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
