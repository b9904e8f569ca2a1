"""How long a job of several phases still takes: the rest of the present one, and the phases to come.

What a unit of each phase costs beside the others is learned from the last such job on this machine and kept
in the cache folder; before the first, it is what a processor with two cores took, or an H200. How fast the
machine is at the moment, the phases so far tell.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from fqconsole import paths
from fqconsole.errors import MALFORMED

# Seconds a unit, by device and phase. Units: bytes of source weights; of "balance" weights that are sampled.
FIRST_PRICES = {
    "cpu": {"balance": 2.8e-8, "analyse": 8.8e-10, "quantize": 3.0e-9},
    "cuda": {"balance": 6e-9, "analyse": 7.6e-11, "quantize": 1.3e-10},
}
# Where scales are not searched.
PLAIN_PRICES = {"cpu": {"analyse": 7e-10, "quantize": 1.9e-9}, "cuda": {"analyse": 1.15e-10}}
PLAIN_MODES = ("fast", "finequant")
TRUSTED_SHARE = 0.15  # of a phase: when so much of it is done, its own pace alone counts
TRUSTED_SECONDS = 2.0  # and where a job like it was seen, so long it ran or is nearly done
LEAST_SECONDS = 1.0  # a phase that is shorter teaches nothing
NAME = "paces.json"

Prices = dict[str, float]


class Ahead:
    """Told of each phase as it begins; turns the time left of a phase into that of the job."""

    def __init__(
        self, kind: str, later: Mapping[str, float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`kind` names jobs that are alike, "best on cuda": mode and device. `later`: the units of the phases
        that will come, in their order; one that is not named here comes before them.
        """
        self._kind = kind
        self._later = dict(later)
        learned = read_prices().get(kind, {})
        self._prices = first_prices(*kind.split(" on ")) | learned
        self._learned = bool(learned)
        self._clock = clock
        self._phase = ""
        self._begun = clock()
        self._units = 0.0
        self._spent: dict[str, tuple[float, float]] = {}  # phase → seconds, units

    def begin(self, phase: str, units: float) -> None:
        """A phase begins: so many units are to be done in it."""
        self._end()
        self._phase, self._units, self._begun = phase, units, self._clock()
        if phase in self._later:
            for passed in list(self._later):
                del self._later[passed]
                if passed == phase:
                    break

    def skip(self, seconds: float) -> None:
        """Time that does not count: the job was held."""
        self._begun += seconds

    def left(self, here: float | None, done: float) -> float | None:
        """Seconds that the job still takes. `here`: what the present phase takes by its own pace, None before
        that is known; `done`: units of it so far. None while nothing is known of what is to come.

        A phase that has only begun tells its pace badly: it is believed the more the further the phase is,
        and before that what is expected from the phases so far.
        """
        passed = self._clock() - self._begun
        whole = self._whole(here, passed, done)
        if whole is None or (not whole and self._later):
            return None
        later = self._slower(whole) if self._later else 0.0
        if later is None:
            return None
        return max(0.0, whole - passed) + later * sum(self._expected(*each) for each in self._later.items())

    def _whole(self, here: float | None, passed: float, done: float) -> float | None:
        """Seconds of the present phase, from its first to its last unit; None where nothing tells."""
        share = done / self._units if self._units > 0 else 1.0
        told = None if here is None else passed + here
        slower = self._slower() or float(self._learned)
        expected = self._expected(self._phase, self._units) * slower
        if not expected:  # nothing is known of this machine yet
            return told
        if told is None:
            return max(expected, passed / max(1.0 - share, 0.1))
        long_enough = passed / TRUSTED_SECONDS if self._learned else 1.0
        trust = max(share, min(1.0, share / TRUSTED_SHARE, long_enough) ** 2)
        return trust * told + (1.0 - trust) * max(expected, passed)

    def _slower(self, present: float | None = None) -> float | None:
        """How many times the expected time the phases so far took, the present one too where its seconds are
        given; None where none of them has a price.
        """
        known = dict(self._spent)
        if present is not None:
            known[self._phase] = present, self._units
        expected = {phase: self._expected(phase, units) for phase, (_, units) in known.items()}
        whole = sum(expected.values())
        seconds = sum(seconds for phase, (seconds, _) in known.items() if expected[phase])
        # A second more or less tells nothing of a machine whose speed is known.
        hiccup = TRUSTED_SECONDS if self._learned else 0.0
        return (seconds + hiccup) / (whole + hiccup) if whole else None

    def finish(self) -> None:
        """The job is done: keep what its phases took, for the next one. A cache that can't be written is no
        harm.
        """
        self._end()
        learned = {
            phase: seconds / units
            for phase, (seconds, units) in self._spent.items()
            if phase in FIRST_PRICES["cpu"] and units > 0 and seconds >= LEAST_SECONDS
        }
        if not learned:
            return
        known = read_prices()
        known[self._kind] = known.get(self._kind, {}) | learned
        path = prices_path()
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(known))
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)

    def _expected(self, phase: str, units: float) -> float:
        return self._prices.get(phase, 0.0) * units

    def _end(self) -> None:
        if self._phase:
            self._spent[self._phase] = self._clock() - self._begun, self._units
        self._phase = ""


def first_prices(mode: str, device: str = "cpu") -> Prices:
    """Seconds a unit of each phase of a job in `mode` that this machine never saw."""
    return FIRST_PRICES[device] | (PLAIN_PRICES[device] if mode in PLAIN_MODES else {})


def prices_path() -> Path:
    """Where what was learned is kept."""
    return paths.cache_dir() / NAME


def read_prices() -> dict[str, Prices]:
    """What was learned, by kind of job; nothing where nothing is kept or it can't be read."""
    try:
        return msgspec.json.decode(prices_path().read_bytes(), type=dict[str, Prices])
    except (OSError, *MALFORMED):
        return {}
