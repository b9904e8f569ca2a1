"""The runs of a server's answers: kept in the store by a thread of its own, or not at all."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from fqconsole.api.question import Question
from fqconsole.jobs.messages import AnyEvent, Send
from fqconsole.jobs.recorder import Recorder
from fqconsole.jobs.runs import begin_generate
from store import Store


class Ledger(Protocol):
    """Gives each answer its run and takes the events."""

    async def begin(self, question: Question) -> Send: ...

    def feed(self, event: AnyEvent) -> None: ...

    def close(self) -> None: ...


class NoLedger:
    """Keeps nothing; answers are numbered."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    async def begin(self, question: Question) -> Send:
        """A request that leaves no run."""
        return Send(f"a{next(self._numbers)}", question.sampling, question.prompt, question.messages)

    def feed(self, event: AnyEvent) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing waits."""


class StoreLedger:
    """Every answer is a run of the store: `keeping` is what `begin_generate` wants to know of the model.

    `complain` gets a sentence where a run could not be written.
    """

    def __init__(
        self, store_file: Path, keeping: Mapping[str, Any], *, complain: Callable[[str], None]
    ) -> None:
        self._keeping = dict(keeping)
        self._complain = complain
        # One thread: a connection of SQLite belongs to the thread that opened it, and rows come in order.
        self._thread = ThreadPoolExecutor(1, "store")
        self._store = self._thread.submit(Store.open, store_file).result()
        self._recorder = Recorder(self._store)

    async def begin(self, question: Question) -> Send:
        """A run, and the request that carries its id. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._begin, question)

    def feed(self, event: AnyEvent) -> None:
        """Take one event; it is written soon."""
        self._thread.submit(self._recorder.feed, event).add_done_callback(self._told)

    def close(self) -> None:
        """Write what waits and close the store."""
        self._thread.submit(self._close).add_done_callback(self._told)
        self._thread.shutdown(wait=True)

    def _begin(self, question: Question) -> Send:
        return begin_generate(
            self._store,
            sampling=question.sampling,
            prompt=question.prompt,
            messages=question.messages,
            **self._keeping,
        )

    def _close(self) -> None:
        try:
            self._recorder.flush()
        finally:
            self._store.close()

    def _told(self, written: "Future[None]") -> None:
        error = written.exception()
        if error is not None:
            self._complain(f"a run could not be recorded: {error}")
