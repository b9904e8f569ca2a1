"""How fast a phase goes and how long it still takes, from the amounts done so far."""

import math

SMOOTHING_SECONDS = 6.0  # time constant: a change of pace shows within a few seconds, a hiccup does not
FIRST_SECONDS = 0.3  # before this much time nothing sensible can be said


class Pace:
    """Rate in units per second, weighed towards the last seconds. Times are seconds of a monotonic clock.

    Units and seconds both fade by exp(-Δt/τ); their quotient is the rate, however unevenly reports come.
    """

    def __init__(self) -> None:
        self._now: float | None = None
        self._done = 0.0
        self._units = 0.0
        self._seconds = 0.0

    def note(self, now: float, done: float) -> None:
        """`done` units were reached at `now`. Counting starts with the first note: a resumed job jumps."""
        if self._now is not None:
            elapsed = now - self._now
            if elapsed <= 0:
                return
            fade = math.exp(-elapsed / SMOOTHING_SECONDS)
            self._units = self._units * fade + max(0.0, done - self._done)
            self._seconds = self._seconds * fade + elapsed
        self._now, self._done = now, done

    def skip(self, seconds: float) -> None:
        """Time that does not count: the job was paused."""
        if self._now is not None:
            self._now += seconds

    def rate(self) -> float | None:
        """Units per second; None before it is known."""
        return self._units / self._seconds if self._seconds >= FIRST_SECONDS else None

    def eta(self, total: float) -> float | None:
        """Seconds to `total`; None where rate or total is unknown."""
        rate = self.rate()
        if not rate or total <= 0:
            return None
        return max(0.0, total - self._done) / rate
