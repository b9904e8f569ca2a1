"""Ends the console when its terminal is gone: nothing else would, and it would keep a GPU for nobody.

A closed window sends SIGHUP as a rule, but not under nohup or to a session of its own; then every write to
the terminal fails while the event loop waits for the writer. A thread of its own sees the hang-up.
"""

import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

GRACE = 4.0  # seconds to end in order: jobs are cancelled and recorded
PERIOD = 500  # milliseconds between two looks at whether the console has ended by itself
HANGUP_CODE = 129


def go_on_only_if_suspended(driver: Any) -> None:
    """Have Textual's driver take SIGCONT only where ctrl+z suspended it before.

    It starts a reader of keys at each one, and nothing ends the second. Linux sends SIGCONT right behind the
    SIGHUP of a closed terminal, too: the console would stay for ever, reading the end of a file.
    """
    textuals = signal.getsignal(signal.SIGCONT)

    def go_on(number: int, frame: FrameType | None) -> None:
        if callable(textuals) and getattr(driver, "_must_signal_resume", True):
            textuals(number, frame)

    signal.signal(signal.SIGCONT, go_on)


class TerminalWatch:
    """Watches a file descriptor; `on_gone` is called once, from the watching thread; then all ends."""

    def __init__(self, descriptor: int, on_gone: Callable[[], object]) -> None:
        self._descriptor = descriptor
        self._on_gone = on_gone
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="terminal watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The console has ended by itself."""
        self._over.set()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, 0)  # hang-up and error are told without being asked for
        while not self._over.is_set():
            if poll.poll(PERIOD):
                self._on_gone()
                if not self._over.wait(GRACE):
                    os._exit(HANGUP_CODE)
                return
