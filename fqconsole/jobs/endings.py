"""How jobs end: which runs are still open, what a lost worker means for them, and the exit code of it all."""

import signal
import time
from pathlib import Path

import msgspec

from fqconsole.jobs.messages import AnyEvent, JobDone, JobFailed, Send
from fqconsole.jobs.requests import AnySession
from fqconsole.jobs.worker_log import last_lines

LOST_EXIT = 1
CANCELLED_EXIT = 128 + signal.SIGINT
TERMINATED_EXIT = 128 + signal.SIGTERM

_HINTS = {
    signal.SIGKILL: "Linux kills so when memory runs out (`dmesg | tail` tells): try fewer bits, a shorter "
    "context or a smaller model.",
    signal.SIGSEGV: "A crash in native code, often a driver or library mismatch: run `fqconsole doctor`.",
    signal.SIGABRT: "A native library gave up: run `fqconsole doctor`.",
    signal.SIGILL: "A library was built for another processor: reinstall torch for this machine.",
    signal.SIGBUS: "A file shrank while it was read, or the disk failed: check the model's folder.",
}


class Endings:
    """The runs of one worker that have no last event yet, and what is known of the job's end."""

    def __init__(self, request: msgspec.Struct) -> None:
        self._session = isinstance(request, AnySession)
        self._open: list[str] = [] if self._session else [getattr(request, "run_id", "")]
        self._last: JobDone | JobFailed | None = None
        self._general: JobFailed | None = None  # a failure of the worker itself, before or beside any run

    def opened(self, request: Send) -> None:
        self._open.append(request.run_id)

    def note(self, event: AnyEvent) -> None:
        """Take account of an event that arrived."""
        if not isinstance(event, JobDone | JobFailed):
            return
        self._last = event
        if isinstance(event, JobFailed) and not event.run_id:
            self._general = event
        if event.run_id in self._open:
            self._open.remove(event.run_id)

    def missing(self, returncode: int, *, cancelling: bool, log_path: Path) -> list[JobDone | JobFailed]:
        """The last events that the worker owes, now that it left with `returncode` (negative: a signal)."""
        now = time.time()
        if cancelling:
            return [JobDone(t=now, run_id=run, status="cancelled") for run in self._open]
        if self._open:
            failure = self._general or lost_worker(returncode, log_path)
            return [msgspec.structs.replace(failure, t=now, run_id=run) for run in self._open]
        unexplained = returncode not in (0, CANCELLED_EXIT, TERMINATED_EXIT) and self._last is None
        if unexplained or (self._session and returncode < 0):
            return [lost_worker(returncode, log_path)]
        return []

    def exit_code(self, returncode: int, *, cancelling: bool) -> int:
        """What the command line ends with; ask after `missing` and `note` of its events."""
        if self._general is not None:
            return self._general.exit_code
        if self._session:
            return returncode if returncode >= 0 else 0 if cancelling else LOST_EXIT
        if isinstance(self._last, JobFailed):
            return self._last.exit_code
        if isinstance(self._last, JobDone) and self._last.status == "done":
            return 0
        return returncode if returncode in (CANCELLED_EXIT, TERMINATED_EXIT) else CANCELLED_EXIT


def lost_worker(returncode: int, log_path: Path) -> JobFailed:
    """The failure of a worker that left without saying why, with what its return code and its log tell."""
    log_note = f"Its last words are in {log_path}."
    if returncode < 0:
        number = -returncode
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        what = f"The worker process was ended by {name}."
        hint = _HINTS.get(signal.Signals(number), "") if name != f"signal {number}" else ""
    else:
        what = f"The worker process ended with exit code {returncode} without saying why."
        hint = ""
    return JobFailed(
        t=time.time(),
        run_id="",
        code="worker_died",
        what=what,
        next_step=f"{hint} {log_note}".strip(),
        exit_code=LOST_EXIT,
        details=last_lines(log_path),
    )
