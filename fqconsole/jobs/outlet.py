"""The worker's end of the event pipe: a thread that writes, so that a full pipe never holds the work."""

import os
import queue
import threading
from collections.abc import Callable

from fqconsole.jobs.messages import Event, encode


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

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, at most `timeout` seconds long, and end the pipe."""
        self._waiting.put(None)
        self._thread.join(timeout)

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
