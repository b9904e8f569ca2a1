"""Leads through a recording as its operator went: which screen, which model, which prompt, at what moment."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fqconsole.app.actions import action
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.messages import FitChanged, ModelChosen, SessionWanted
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.session_choices import SIXTEEN, label_of
from fqconsole.app.widgets.prompt_field import PromptField
from fqconsole.app.workspace import FitChoice, SessionChoice
from fqconsole.jobs.messages import (
    GenerationDone,
    JobFailed,
    SessionReady,
    StartEvaluate,
    StartQuantize,
    StartSession,
)
from fqconsole.jobs.recording import RecordedJob

if TYPE_CHECKING:
    from fqconsole.app.console import FqConsole

LOOK = 2.5  # seconds a screen is left to be looked at; at speed 1
POLL = 0.05  # seconds between two looks at whether a step has ended
PATIENCE = 900.0  # seconds after which a step that does not end is left
END = "The recording has ended. The console is yours: look around, or press ctrl+q."


class Director:
    """Goes through the recorded jobs in the order of their start; a key that is pressed is heeded as ever."""

    def __init__(self, app: "FqConsole", jobs: tuple[RecordedJob, ...], speed: float) -> None:
        self._app, self._recorded, self._speed = app, jobs, speed
        self._quantized: StartQuantize | None = None
        self._sessions = 0

    async def lead(self) -> None:
        """From the first screen to the end of the recording."""
        await self._look()
        for job in self._recorded:
            match job.start:
                case StartQuantize() as start:
                    await self._quantize(start)
                case StartSession() as start if self._sessions == 0:
                    await self._talk(start, job)
                case StartSession():
                    await self._compare(job)
                case StartEvaluate():
                    await self._measure()
                case _:
                    pass
        self._app.notify(END, timeout=10, markup=False)

    async def _quantize(self, start: StartQuantize) -> None:
        app = self._app
        await self._choose_model(start)
        app.show("quantize")
        await self._look()
        begin = app.services.begin
        job = await app.begin_job(
            lambda store: begin.begin_quantize(
                store,
                model_id=start.model_id,
                model_path=start.model_path,
                out=start.out,
                bits=start.bits,
                granularity=start.granularity,
                group_size=start.group_size,
                threshold=start.threshold,
                mode=start.mode,
            ),
            kind="quantize",
            title=f"{start.model_id.rstrip('/').rpartition('/')[2]} → int{start.bits}",
        )
        if job is not None:
            await self._until(lambda: job.ended is not None)
            if isinstance(job.request, StartQuantize):
                self._quantized = job.request
        await self._look()

    async def _choose_model(self, start: StartQuantize) -> None:
        """Models and Fit, where the recorded model is one that is here."""
        app = self._app
        try:
            entries = await asyncio.to_thread(app.services.list_models)
            entry = next((item for item in entries if item.id == start.model_id), None)
            about = None if entry is None else await asyncio.to_thread(app.services.describe, entry)
        except Exception:  # noqa: BLE001 - the recording goes on without it
            return
        if entry is None or about is None:
            return
        app.post_message(ModelChosen(entry, about))
        await self._until(lambda: app.current_mode == "fit")
        if start.granularity in ("adaptive", "fixed"):
            chosen = FitChoice(bits=start.bits, granularity=start.granularity, group_size=start.group_size)
            app.post_message(FitChanged(chosen))
        await self._look()

    async def _talk(self, start: StartSession, job: RecordedJob) -> None:
        self._app.post_message(SessionWanted(self._choice(start, job)))
        session = await self._next_session()
        if session is None:
            return
        await self._until(lambda: _ready(session) or not session.active)
        for number, prompt in enumerate(job.prompts, start=1):
            await self._look()
            text = prompt.prompt or (prompt.messages[-1][1] if prompt.messages else "")
            self._session_screen.query_one(PromptField).write(text)
            await self._look()
            await self._do("session.send")  # also while presenter mode lies over the screen
            await self._until(lambda count=number: _answered(session) >= count or not session.active)  # type: ignore[misc]

    async def _compare(self, job: RecordedJob) -> None:
        """The 16-bit original beside it, which answers the last prompt."""
        self._app.show("session")
        await self._look()
        await self._do("session.compare")
        session = await self._next_session()
        if session is not None and job.prompts:
            await self._until(lambda: _answered(session) >= 1 or not session.active)
        await self._look()

    async def _measure(self) -> None:
        """Of a built-in model the screen does so by itself."""
        jobs = self._app.jobs
        if self._sessions and jobs.latest("evaluate") is None:
            await self._until(lambda: jobs.latest("evaluate") is not None, LOOK)
            if jobs.latest("evaluate") is None:
                await self._do("session.measure")
        job = jobs.latest("evaluate")
        if job is not None:
            await self._until(lambda: job.ended is not None)
        await self._look()

    async def _next_session(self) -> JobHandle | None:
        """The session that was asked for, once it is there."""
        place = self._sessions
        self._sessions += 1

        def found() -> list[JobHandle]:
            return [job for job in self._app.jobs.handles if job.kind == "session"]

        await self._until(lambda: len(found()) > place, LOOK * 4)
        return found()[place] if len(found()) > place else None

    def _choice(self, start: StartSession, job: RecordedJob) -> SessionChoice:
        made = self._quantized
        if made is not None and Path(start.model_path).name == Path(made.out).name:
            return SessionChoice(
                path=start.model_path,
                model_id=made.model_id,
                label=label_of(made.model_id, made.bits),
                bits=made.bits,
                parent_run=made.run_id,
                reference_path=made.model_path,
                context=start.context,
            )
        ready = next((event for event in job.events if isinstance(event, SessionReady)), None)
        bits = int(ready.precision[3:]) if ready and ready.precision.startswith("int") else SIXTEEN
        name = Path(start.model_path).name
        return SessionChoice(start.model_path, name, label_of(name, bits), bits, context=start.context)

    async def _do(self, action_id: str) -> None:
        await self._app.run_action(action(action_id).call, self._session_screen)

    @property
    def _session_screen(self) -> ModeScreen:
        alive = [screen for screen in self._app.screens_alive() if isinstance(screen, ModeScreen)]
        return next(screen for screen in alive if screen.MODE == "session")

    async def _look(self) -> None:
        await asyncio.sleep(LOOK / self._speed)

    async def _until(self, ended: Callable[[], Any], patience: float = PATIENCE) -> None:
        for _ in range(int(patience / POLL)):
            if ended():
                return
            await asyncio.sleep(POLL)


def _ready(job: JobHandle) -> bool:
    return any(isinstance(event, SessionReady) for event in job.history)


def _answered(job: JobHandle) -> int:
    return sum(isinstance(event, GenerationDone | JobFailed) for event in job.history)
