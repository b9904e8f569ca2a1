"""What ties a worker to its console: the parent-death signal, and file descriptors nobody else may hold."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
ORPHAN_EXIT = 1


def bind_to_parent(parent: int | None) -> None:
    """Have Linux kill this process when `parent` dies; end at once when it is already gone.

    SIGKILL, because a worker deep in native code hears nothing gentler, and because what a job writes is
    made to be killed at any moment. Elsewhere than on Linux the end of standard input has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(ORPHAN_EXIT)


def take_requests() -> int:
    """Standard input as a descriptor of our own; libraries and child processes find /dev/null there."""
    requests = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return requests


def take_events(inherited: int | None) -> int:
    """The descriptor that events go to, kept from child processes.

    With none inherited (a worker started by hand) events go to standard output, and what else is printed
    goes to standard error.
    """
    if inherited is not None:
        os.set_inheritable(inherited, False)
        return inherited
    sys.stdout.flush()
    events = os.dup(1)
    os.dup2(2, 1)
    return events
