"""How long a job still takes when its bytes are not all alike: a matrix is rounded, a kept tensor copied.

Each kind of work has a price, seconds a byte, learned from what was done of it: the time between two reports
is charged to the kind that the later one is of. What is left of each kind at its price is the time left.
Prices fade slowly, over a share of the time that the job has run, so that a machine that becomes busy shows
and a hiccup does not.
"""

import math
import time
from collections.abc import Callable, Mapping

MEMORY_SECONDS = 10.0  # at least so long is remembered,
MEMORY_SHARE = 0.5  # and at least this share of the time that the job has run
FIRST_SECONDS = 0.3  # of work; before that nothing sensible can be said
FIRST_SHARE = 0.02  # of a kind's bytes; before that its price is a guess


class Forecast:
    """Learns prices from reports. `clock` is a monotonic clock in seconds."""

    def __init__(self, left: Mapping[str, float], *, clock: Callable[[], float] = time.monotonic) -> None:
        """`left`: bytes that are to be done of each kind."""
        self._total = dict(left)
        self._left = dict(left)
        self._seconds = dict.fromkeys(left, 0.0)
        self._bytes = dict.fromkeys(left, 0.0)
        self._clock = clock
        self._run = 0.0
        self._now = clock()

    def take(self, kind: str, size: float) -> None:
        """`size` bytes of a kind were done since the last report."""
        now = self._clock()
        elapsed, self._now = now - self._now, now
        self._run += elapsed
        fade = math.exp(-elapsed / max(MEMORY_SECONDS, MEMORY_SHARE * self._run))
        for each in self._left:
            self._seconds[each] *= fade
            self._bytes[each] *= fade
        self._left[kind] -= size
        self._seconds[kind] += elapsed
        self._bytes[kind] += size

    def skip(self) -> None:
        """The time since the last report does not count: the job was held."""
        self._now = self._clock()

    def seconds_left(self) -> float | None:
        """None while too little was done to say. A kind whose price is not known yet counts as dear as the
        others when it is the smaller part of what is left.
        """
        known = [kind for kind in self._left if self._knows(kind)]
        if self._run < FIRST_SECONDS or not known:
            return None
        unknown = sum(left for kind, left in self._left.items() if kind not in known)
        if unknown > sum(self._left[kind] for kind in known):
            return None
        mean = sum(self._seconds[kind] for kind in known) / sum(self._bytes[kind] for kind in known)
        return unknown * mean + sum(
            self._left[kind] * self._seconds[kind] / self._bytes[kind] for kind in known
        )

    def _knows(self, kind: str) -> bool:
        done = self._total[kind] - self._left[kind]
        return done > 0 and done >= FIRST_SHARE * self._total[kind]
