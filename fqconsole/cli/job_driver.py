"""One job from start to end: its events recorded and narrated, signals turned into a cancel, GPUs read."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fqconsole import paths
from fqconsole.cli.ending import EndedBySignal, heeded, listen
from fqconsole.cli.narration import Narrator
from fqconsole.cli.output import Output, write
from fqconsole.errors import OperatorError
from fqconsole.gpus import open_gpus
from fqconsole.jobs import Job, Recorder
from fqconsole.jobs.client import StartRequest
from fqconsole.jobs.messages import AnyEvent, JobDone, JobFailed, Send, SessionReady, encode
from store import Store

GPU_PERIOD = 0.5  # seconds between two readings

Watch = Callable[[AnyEvent], None]


class JobError(OperatorError):
    """A job that failed, with the exit code it gave itself."""

    def __init__(self, failed: JobFailed, log: Path | None) -> None:
        where = f"The log is {log}." if log is not None and failed.code == "internal" else ""
        super().__init__(failed.what, f"{failed.next_step} {where}".strip())
        self.exit_code = failed.exit_code
        self.code = failed.code


class JobDriver:
    """Runs jobs for one command."""

    def __init__(self, store: Store, output: Output) -> None:
        self.store = store
        self.output = output
        self.narrator = Narrator(output)

    def run(self, start: StartRequest, run_id: str, watch: Watch, *, send: Send | None = None) -> None:
        """Run `start` to its end; a session gets `send` when it is loaded and ends when that is answered.

        `watch` sees every event after it is recorded.

        Raises JobError when the job failed and EndedBySignal when a signal ended it; either way the run is
        recorded as what it is and the worker is gone.
        """
        course = _Course(self, run_id, watch, send)
        try:
            asyncio.run(course.drive(start))
        finally:
            listen()
            self.narrator.close()
            course.close()
        if course.ended_by is not None:
            raise EndedBySignal(course.ended_by)
        if course.failure is not None:
            raise JobError(course.failure, course.log_path)


class _Course:
    """The state of one job while it runs."""

    def __init__(self, driver: JobDriver, run_id: str, watch: Watch, send: Send | None) -> None:
        self._store = driver.store
        self._output = driver.output
        self._narrator = driver.narrator
        self._run_id = run_id
        self._watch = watch
        self._send = send
        self._recorder = Recorder(driver.store)
        self._job: Job | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.failure: JobFailed | None = None
        self.ended_by: int | None = None

    async def drive(self, start: StartRequest) -> None:
        loop = asyncio.get_running_loop()
        for number in heeded():
            loop.add_signal_handler(number, self._on_signal, number)
        readings = asyncio.create_task(self._read_gpus())
        try:
            async with await Job.start(start, log_dir=paths.log_dir()) as self._job:
                if self.ended_by is not None:
                    self._cancel()
                async for event in self._job.events():
                    await self._take(event)
        finally:
            readings.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await readings
            for number in heeded():
                loop.remove_signal_handler(number)

    @property
    def log_path(self) -> Path | None:
        """Where the worker's own output went."""
        return self._job.log_path if self._job is not None else None

    def close(self) -> None:
        """Leave no run open, whatever happened; one that has its end keeps it."""
        self._recorder.flush()
        if not self._run_id:
            return  # a job that leaves no run
        if self.ended_by is not None or self.failure is None:
            self._store.finish_run(self._run_id, "cancelled")
            return
        error = {"code": self.failure.code, "what": self.failure.what, "next_step": self.failure.next_step}
        self._store.finish_run(self._run_id, "failed", error=error)

    async def _take(self, event: AnyEvent) -> None:
        self._recorder.feed(event)
        if self._output.events:
            write(sys.stdout, encode(event).decode())
        self._narrator.feed(event)
        self._watch(event)
        match event:
            case SessionReady() if self._send is not None and self._job is not None and self.ended_by is None:
                await self._job.send(self._send)
            case JobFailed():
                self.failure = event
                self._answered()
            case JobDone():
                self._answered()

    def _answered(self) -> None:
        """Our run has had its last event; a session would wait for the next prompt, which never comes."""
        if self._send is not None:
            self._cancel()

    def _on_signal(self, number: int) -> None:
        first = self.ended_by is None
        self.ended_by = self.ended_by or number
        self._narrator.say(
            f"{signal.Signals(number).name}: cancelling; once more ends it at once"
            if first
            else "ending the worker at once"
        )
        self._cancel(at_once=not first)

    def _cancel(self, *, at_once: bool = False) -> None:
        if self._job is None:
            return
        patience: dict[str, Any] = {"grace": 0.0, "term_grace": 0.0} if at_once else {}
        task = asyncio.create_task(self._job.cancel(**patience))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _read_gpus(self) -> None:
        watcher = await asyncio.to_thread(open_gpus)
        while watcher.available:
            snapshots = await asyncio.to_thread(watcher.sample)
            self._recorder.feed_gpus(self._run_id, snapshots)
            await asyncio.sleep(GPU_PERIOD)
