"""The console's end of a worker's event pipe: whole lines out of whatever pieces arrive."""

import asyncio
from collections.abc import Callable


class EventPipe(asyncio.Protocol):
    """Calls `on_line` with each whole line, without its newline; `ended` is set when the pipe is at its end.

    A StreamReader is no use here: it refuses lines over its limit, and the plan of a large model is one line
    of megabytes. Lines are taken as fast as they arrive, so a slow reader of events never holds the worker.
    """

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._rest = bytearray()
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        # Only the new piece is searched: a line of many pieces would else be scanned again for each of them.
        first, *others = data.split(b"\n")
        self._rest += first
        for piece in others:
            line, self._rest = bytes(self._rest), bytearray(piece)
            self._on_line(line)

    def connection_lost(self, exc: Exception | None) -> None:
        # A line without its end was cut off by the worker's death: it is no event.
        self._rest.clear()
        self.ended.set()
