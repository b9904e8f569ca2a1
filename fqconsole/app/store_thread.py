"""The one thread that holds the run database: reads and writes in order; no screen waits for a disk."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fqconsole.errors import OperatorError

T = TypeVar("T")


class StoreThread:
    """Opens the store on first use, in its own thread, as a SQLite connection belongs to its thread."""

    def __init__(self, open_store: Callable[[], Any]) -> None:
        self._open_store = open_store
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._store: Any = None

    def _with_store(self, work: Callable[[Any], T]) -> T:
        if self._store is None:
            self._store = self._open_store()
        return work(self._store)

    async def call(self, work: Callable[[Any], T]) -> T:
        """Run `work(store)` in the store's thread. Raises what it raises, StoreError as a rule."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._with_store, work)

    async def problem(self) -> str:
        """Open the store; empty when that went well, else the sentence for the operator."""
        try:
            await self.call(lambda _store: None)
        except Exception as error:  # noqa: BLE001 - any failure to open becomes a sentence, never a crash of the screen
            return sentence(error)
        return ""

    def close(self) -> None:
        """Finish what was asked, then end the thread."""
        if self._store is not None and hasattr(self._store, "close"):
            self._executor.submit(self._store.close)
        self._executor.shutdown(wait=True)


def sentence(error: BaseException) -> str:
    """An error as the operator reads it: what and the next step where it has them."""
    if isinstance(error, OperatorError) or hasattr(error, "what"):
        next_step = getattr(error, "next_step", "")
        return f"{getattr(error, 'what', error)} {next_step}".strip()
    return f"{type(error).__name__}: {error}"
