"""New text as few events: the pipe is no faster for one event a token."""

import time

from fqconsole.jobs.desk import Desk
from fqconsole.jobs.messages import TokensGenerated

TEXT_SECONDS = 0.05  # new text is told at most twenty times a second


class Teller:
    """Gathers the new text of one run."""

    def __init__(self, run_id: str, desk: Desk) -> None:
        self._run_id = run_id
        self._desk = desk
        self._text = ""
        self._count = 0
        self._tok_s: float | None = None
        self._told = 0.0

    def take(self, text: str, count: int, tok_s: float | None) -> None:
        """New text, the tokens so far, and their rate."""
        self._text += text
        self._count, self._tok_s = count, tok_s
        if time.monotonic() - self._told >= TEXT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Tell what waits."""
        if not self._text:
            return
        self._desk.put(
            TokensGenerated(
                t=time.time(), run_id=self._run_id, text=self._text, count=self._count, tok_s=self._tok_s
            )
        )
        self._text = ""
        self._told = time.monotonic()
