"""Where the time of a start goes: its stages one after the other, each with its seconds."""

import time
from collections.abc import Callable


class Stages:
    """A stopwatch that goes from stage to stage; a stage that comes again is added up."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter, since: float | None = None) -> None:
        """`since`: when the first stage began, by this clock; None is now."""
        self._clock = clock
        self._since = clock() if since is None else since
        self.seconds: dict[str, float] = {}

    def ended(self, name: str) -> None:
        """What passed since the stage before was `name`."""
        self.add(name, self.lap())

    def lap(self) -> float:
        """Seconds since the stage before, which belong to none yet: the next one begins now."""
        now = self._clock()
        passed, self._since = now - self._since, now
        return passed

    def add(self, name: str, seconds: float) -> None:
        """Seconds of `name` that were measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
