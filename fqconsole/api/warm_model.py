"""The session behind the server: one worker, one answer at a time, and a line of those who wait."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from typing import Any, Protocol

from fqconsole.api.ledger import Ledger
from fqconsole.api.question import Question
from fqconsole.api.refusal import BROKEN, BUSY, UNAVAILABLE, Refusal
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import AnyEvent, JobDone, JobFailed, Request, Stop
from store import StoreError

WAITING_AT_MOST = 64


class Worker(Protocol):
    """The part of `fqconsole.jobs.Job` that answers need."""

    def events(self) -> AsyncIterator[AnyEvent]: ...

    def send(self, request: Request) -> Awaitable[None]: ...


class Asked:
    """A question in the line. The asker may leave at any time: the model then stops, or never starts."""

    def __init__(self, question: Question, model: "WarmModel") -> None:
        self.question = question
        self.run_id = ""
        self._left = False
        self.over = asyncio.Event()
        self._model = model
        self._events: asyncio.Queue[AnyEvent | Refusal] = asyncio.Queue()

    async def next(self) -> AnyEvent:
        """The next event of the answer; the last is JobDone or JobFailed. Raises Refusal."""
        event = await self._events.get()
        if isinstance(event, Refusal):
            raise event
        return event

    def leave(self) -> None:
        """Nobody wants the rest."""
        if not self._left and not self.over.is_set():
            self._left = True
            self._model.stop(self)

    def has_left(self) -> bool:
        """Whether the rest is wanted no more; it may become true while something else is awaited."""
        return self._left

    def put(self, event: AnyEvent | Refusal) -> None:
        """One event, in order."""
        self._events.put_nowait(event)
        if isinstance(event, JobDone | JobFailed | Refusal):
            self.over.set()


class WarmModel:
    """Asks the session of `worker`, which is loaded, and tells `ledger` of everything."""

    def __init__(self, worker: Worker, ledger: Ledger) -> None:
        self._worker = worker
        self._ledger = ledger
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._current: Asked | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.gone = asyncio.Event()
        self.failure: JobFailed | None = None

    @property
    def waiting(self) -> int:
        """Questions that are asked and not answered."""
        return self._waiting

    def ask(self, question: Question) -> Asked:
        """Stand in the line. Raises Refusal when it is too long or the session has ended."""
        if self.gone.is_set():
            raise self._ended()
        if self._waiting >= WAITING_AT_MOST:
            raise Refusal(BUSY, f"{WAITING_AT_MOST} requests wait: try again later.", code="queue_full")
        asked = Asked(question, self)
        self._waiting += 1
        self._go(self._answer(asked))
        return asked

    def stop(self, asked: Asked) -> None:
        """End the answer if it is the one under way."""
        if asked is self._current:
            self._go(self._worker_stop())

    async def follow(self) -> None:
        """Hand every event of the worker to whom it concerns, until the worker ends."""
        try:
            async for event in self._worker.events():
                self._ledger.feed(event)
                run_id = getattr(event, "run_id", "")
                if isinstance(event, JobFailed) and (not run_id or event.code == "worker_died"):
                    self.failure = event
                if self._current is not None and run_id and run_id == self._current.run_id:
                    self._current.put(event)
        finally:
            self.gone.set()
            if self._current is not None:
                self._current.put(self._ended())

    async def _answer(self, asked: Asked) -> None:
        try:
            async with self._turn:
                if asked.has_left():
                    return
                if self.gone.is_set():
                    asked.put(self._ended())
                    return
                send = await self._ledger.begin(asked.question)
                asked.run_id = send.run_id
                self._current = asked
                await self._worker.send(send)
                if asked.has_left():
                    await self._worker_stop()
                await asked.over.wait()
        except (OperatorError, StoreError) as error:
            asked.put(Refusal(BROKEN, str(error)))
        finally:
            self._waiting -= 1
            if self._current is asked:
                self._current = None

    async def _worker_stop(self) -> None:
        await self._worker.send(Stop())

    def _ended(self) -> Refusal:
        said = f": {self.failure.what}" if self.failure is not None else "."
        return Refusal(UNAVAILABLE, f"The session has ended{said}", code="session_ended")

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
