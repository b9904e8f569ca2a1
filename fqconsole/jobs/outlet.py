"""The worker's end of the event pipe: a thread that writes, so that a full pipe never holds the work."""

import os
import queue
import threading
import time
from collections.abc import Callable

from fqconsole.jobs.messages import Event, encode

HURRY_SECONDS = 1.0


class Outlet:
    """Events go out in the order they were put. `on_broken` is called once when nobody reads any more."""

    def __init__(self, descriptor: int, on_broken: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="events", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        self._waiting.put(encode(event))

    def put_sign(self) -> None:
        """An empty line, which is no event: the client learns that the worker is ready for its request."""
        self._waiting.put(b"\n")

    def close(self, hurried: Callable[[], bool]) -> None:
        """Write what waits and end the pipe.

        A console that stands still (Ctrl-Z) gets the time it needs; once `hurried`, HURRY_SECONDS more.
        """
        self._waiting.put(None)
        deadline: float | None = None
        while self._thread.is_alive() and (deadline is None or time.monotonic() < deadline):
            self._thread.join(0.1)
            if deadline is None and hurried():
                deadline = time.monotonic() + HURRY_SECONDS

    def _write_all(self) -> None:
        broken = False
        while (line := self._waiting.get()) is not None:
            if broken:
                continue
            try:
                _write(self._descriptor, line)
            except OSError:
                broken = True
                self._on_broken()
        os.close(self._descriptor)


def _write(descriptor: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
