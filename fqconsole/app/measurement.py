"""What a checkpoint lost against its 16-bit original, measured in a job that gives way to answers."""

import asyncio
import os
from collections.abc import Iterable
from typing import Any, Literal

from fqconsole.app.job_runner import JobHandle, JobRunner
from fqconsole.app.origin import Origin, Quality, find_origin
from fqconsole.app.store_thread import StoreThread, sentence
from fqconsole.app.workspace import SessionChoice
from fqconsole.jobs.messages import AnyEvent, EvaluationDone, Pause, Resume, StartEvaluate

MeasurementState = Literal["none", "running", "held", "done", "cancelled", "failed"]
HOLD_WAIT = 1.5  # seconds an answer waits for the window under way to end


class Measurement:
    """Of one checkpoint. Finds what was measured before, here or in another console."""

    def __init__(
        self, choice: SessionChoice, jobs: JobRunner, store: StoreThread, begin: Any, *, by_itself: bool
    ) -> None:
        """`by_itself`: it takes seconds, and begins after the first answer without being asked for."""
        self.choice = choice
        self.by_itself = by_itself
        self.origin = Origin(reference_path=choice.reference_path)
        self.quality: Quality | None = None
        self.problem = ""
        self.looked_up = False
        self._jobs, self._store, self._begin = jobs, store, begin
        self._job: JobHandle | None = None
        self._beginning = False
        self._settled = asyncio.Event()  # held, or at its end: nothing competes with an answer
        self._settled.set()

    @property
    def possible(self) -> bool:
        """There is a 16-bit original to measure against."""
        return self.choice.bits < 16 and self.origin.reference_path is not None

    @property
    def state(self) -> MeasurementState:
        job = self._job
        if job is not None and job.active:
            return "held" if job.status == "paused" else "running"
        if self.quality is not None:
            return "done"
        if self.problem:
            return "failed"
        return "cancelled" if job is not None else "none"

    @property
    def active(self) -> bool:
        return self._beginning or (self._job is not None and self._job.active)

    @property
    def progress(self) -> tuple[str, float | None]:
        """The phase, and which part of it is done."""
        progress = self._job.progress if self._job is not None else None
        if progress is None:
            return "", None
        return progress.phase, progress.done / progress.total if progress.total > 0 else None

    async def look_up(self) -> None:
        """Take over a measurement that runs, then read what the runs know."""
        for job in self._jobs.handles:
            request = job.request
            if isinstance(request, StartEvaluate) and same_folder(request.checkpoint_path, self.choice.path):
                self._follow(job)
        choice = self.choice
        try:
            self.origin = await self._store.call(
                lambda store: find_origin(store, choice.path, choice.parent_run, choice.reference_path)
            )
        except Exception:  # noqa: BLE001 - without a database the dialogue goes on and nothing is known
            self.origin = Origin(reference_path=choice.reference_path)
        self.quality = self.quality or self.origin.quality
        self.looked_up = True

    async def start(self, *, unasked: bool = False) -> None:
        """Begin to measure, unless that is under way; `unasked`: nobody pressed a key for it."""
        reference = self.origin.reference_path
        if self.active or reference is None:
            return
        self._beginning = True
        choice, begin = self.choice, self._begin
        try:
            job = await self._jobs.begin(
                lambda store: begin.begin_evaluate(
                    store, checkpoint_path=choice.path, reference_path=reference, model_id=choice.model_id
                ),
                kind="evaluate",
                title=f"measuring {choice.label}",
                unasked=unasked,
            )
            self.problem = ""
            self._follow(job)
        except Exception as error:  # noqa: BLE001 - the database says no: a sentence, no crash
            self.problem = sentence(error)
        finally:
            self._beginning = False

    async def hold(self) -> None:
        """Give way to an answer: wait until the window under way has ended, but not for long."""
        job = self._job
        if job is None or not job.active:
            return
        if job.status != "paused":
            await job.send(Pause())
            try:
                await asyncio.wait_for(self._settled.wait(), HOLD_WAIT)
            except TimeoutError:
                return

    async def go_on(self) -> None:
        """Nothing else wants the device any more."""
        if self._job is not None and self._job.active:
            await self._job.send(Resume())

    async def cancel(self) -> None:
        if self._job is not None:
            await self._job.cancel()

    def follows(self, job: JobHandle) -> bool:
        return job is self._job

    def take(self, job: JobHandle, events: Iterable[AnyEvent]) -> bool:
        """Take account of events; False when they are of another job."""
        if job is not self._job:
            return False
        for event in events:
            self._take(event)
        self._note_status()
        return True

    def job_changed(self, job: JobHandle) -> bool:
        """Notice a measurement of this checkpoint that was started elsewhere, and how this one ended."""
        request = job.request
        if job is not self._job:
            if not isinstance(request, StartEvaluate) or not job.active:
                return False
            if not same_folder(request.checkpoint_path, self.choice.path):
                return False
            self._follow(job)
        self._note_status()
        return True

    def _follow(self, job: JobHandle) -> None:
        self._job = job
        for event in job.history:
            self._take(event)
        self._note_status()

    def _take(self, event: AnyEvent) -> None:
        if isinstance(event, EvaluationDone):
            self.quality = Quality(
                run_id=event.run_id,
                perplexity=event.perplexity,
                reference_perplexity=event.reference_perplexity,
                kl_divergence=event.kl_divergence,
                top1_agreement=event.top1_agreement,
                tokens=event.tokens,
            )

    def _note_status(self) -> None:
        job = self._job
        if job is None:
            return
        if job.failure is not None:
            self.problem = f"{job.failure.what} {job.failure.next_step}".strip()
        if job.active and job.status != "paused":
            self._settled.clear()
        else:
            self._settled.set()


def same_folder(first: str, second: str) -> bool:
    """Whether two paths name one folder."""
    return os.path.realpath(first) == os.path.realpath(second)
