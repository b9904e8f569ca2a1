"""What the console has asked of a running worker: read by a thread, kept as flags and a queue of prompts."""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable

import msgspec

from fqconsole.errors import MALFORMED, UsageError
from fqconsole.jobs.messages import (
    PROTOCOL,
    AnyRequest,
    Cancel,
    Pause,
    Resume,
    Send,
    StartDescribe,
    StartDownload,
    StartEndpoint,
    StartEvaluate,
    StartExport,
    StartPlan,
    StartProbe,
    StartQuantize,
    StartSession,
    StartTasks,
    StartVerify,
    Stop,
    decode_request,
)

AnyStart = (
    StartQuantize
    | StartPlan
    | StartEvaluate
    | StartTasks
    | StartExport
    | StartVerify
    | StartDescribe
    | StartProbe
    | StartDownload
    | StartSession
    | StartEndpoint
)


class ProtocolError(UsageError):
    """A request that this worker can't read; `run_id` is the run it was for, as far as that can be read."""

    code = "protocol"

    def __init__(self, what: str, next_step: str, run_id: str = "") -> None:
        super().__init__(what, next_step)
        self.run_id = run_id


class _Envelope(msgspec.Struct):
    """What every version of a request has."""

    type: str = ""
    protocol: int = PROTOCOL
    run_id: str = ""


class Orders:
    """Flags that the work looks at between two steps. `complain` gets a sentence about a line it can't read.

    Signal handlers write these flags too, in the main thread at any moment: hence plain attributes and a
    SimpleQueue, whose `put` may interrupt itself, and no locks.
    """

    def __init__(self, descriptor: int, complain: Callable[[str], None]) -> None:
        self._lines = os.fdopen(descriptor, "rb")
        self._complain = complain
        self._first: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._sends: queue.SimpleQueue[tuple[int, Send] | None] = queue.SimpleQueue()
        self._sent = 0
        self._stopped_through = 0
        self.cancelled = False
        self.signal: int | None = None
        self.paused = False
        self.came_at: float | None = None  # when the first line was there, by time.perf_counter

    def listen(self) -> None:
        """Read the requests in a thread of their own, the first one too."""
        threading.Thread(target=self._read_all, name="requests", daemon=True).start()

    def is_asked(self) -> bool:
        """Whether the first line is there, or its end."""
        return not self._first.empty()

    def first(self) -> AnyStart:
        """Wait for the request that starts the job, after `listen`.

        Raises ProtocolError where it is none, Cancelled where a signal came before it.
        """
        line = self._first.get()
        if not line and self.signal is not None:
            from quantizer.watch import Cancelled

            raise Cancelled
        if not line.strip():
            raise ProtocolError(
                "No request came before the end of input.", "Send one Start request a worker."
            )
        request = read_request(line)
        if not isinstance(request, AnyStart):
            name = type(request).__name__
            raise ProtocolError(
                f"The first request is {name}, which starts nothing.", "Send a Start request first."
            )
        return request

    def cancel(self, signal_number: int | None = None) -> None:
        """Ask the work to end. Safe in a signal handler."""
        self.signal = signal_number if self.signal is None else self.signal
        self.cancelled = True
        self._first.put(b"")
        self._sends.put(None)

    def next_send(self) -> tuple[int, Send] | None:
        """Wait for the next prompt and its number; None when the session is to end."""
        while not self.cancelled:
            item = self._sends.get()
            if item is not None and not self.cancelled:
                return item
        return None

    def waiting_sends(self) -> list[Send]:
        """Prompts that were asked for and not begun, taken out of the queue."""
        left: list[Send] = []
        while True:
            try:
                item = self._sends.get_nowait()
            except queue.Empty:
                return left
            if item is not None:
                left.append(item[1])

    def stop_asked(self, number: int) -> bool:
        """Whether the prompt with this number is to end now."""
        return self.cancelled or number <= self._stopped_through

    def _read_all(self) -> None:
        first = self._lines.readline()
        self.came_at = time.perf_counter()
        self._first.put(first)
        for line in self._lines:
            if line.strip():
                try:
                    self._take(read_request(line))
                except ProtocolError as error:
                    self._complain(str(error))
        # The end of input means that the console is gone or wants nothing more.
        self.cancel()

    def _take(self, request: AnyRequest) -> None:
        if isinstance(request, Send):
            self._sent += 1
            self._sends.put((self._sent, request))
        elif isinstance(request, Stop):
            self._stopped_through = self._sent
        elif isinstance(request, Pause):
            self.paused = True
        elif isinstance(request, Resume):
            self.paused = False
        elif isinstance(request, Cancel):
            self.cancel()
        else:
            self._complain(f"A worker does one job: the second {type(request).__name__} was ignored.")


def read_request(line: bytes) -> AnyRequest:
    """One line to a request. Raises ProtocolError naming the version or the field that is wrong."""
    try:
        envelope = msgspec.json.decode(line, type=_Envelope)
    except MALFORMED as error:
        raise ProtocolError(f"A request can't be read: {error}.", "Send one JSON object a line.") from None
    if envelope.protocol != PROTOCOL:
        raise ProtocolError(
            f"The request is of protocol {envelope.protocol}, this worker speaks protocol {PROTOCOL}.",
            "Restart fqconsole, so that console and worker are of one version.",
            envelope.run_id,
        )
    try:
        return decode_request(line)
    except MALFORMED as error:
        raise ProtocolError(
            f"The request {envelope.type or 'without a type'} can't be read: {error}.",
            "See docs/jobs.md for the fields of each request.",
            envelope.run_id,
        ) from None


def obey_signals(orders: Orders) -> None:
    """SIGTERM, SIGHUP and SIGINT cancel the job in order."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda received, _frame: orders.cancel(received))
