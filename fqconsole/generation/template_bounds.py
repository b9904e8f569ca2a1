"""Time and memory for a chat template: it is its author's program, and may loop or grow for ever."""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import psutil

SECONDS = 10.0  # of processor time; a conversation that fills a context takes milliseconds
MORE_MEMORY = 2 * 2**30  # bytes beyond what the process has
TEXT_AT_MOST = 16 * 2**20  # characters; several times what the longest contexts hold


class TemplateTooLongError(Exception):
    """The template used up its time."""


@contextmanager
def bounded(seconds: float = SECONDS, more_memory: int = MORE_MEMORY) -> Iterator[None]:
    """TemplateTooLongError or MemoryError instead of a worker that hangs or a machine without memory.

    Both bounds are the process's own, so they hold in its main thread alone, where a worker answers; in
    another thread of somebody's program nothing is bounded.
    """
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            stack.enter_context(_memory(more_memory))
            stack.enter_context(_time(seconds))
        yield


@contextmanager
def _time(seconds: float) -> Iterator[None]:
    before = signal.signal(signal.SIGVTALRM, _over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _over(_number: int, _frame: FrameType | None) -> None:
    raise TemplateTooLongError


@contextmanager
def _memory(more: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = int(psutil.Process().memory_info().vms) + more
    if soft != resource.RLIM_INFINITY and soft <= most:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
