"""The worker's watch: what a job says becomes events, what the console asks becomes a pause or an end."""

import math
import time
from collections.abc import Callable

import psutil

from fqconsole.errors import OperatorError
from fqconsole.jobs.ahead import Ahead
from fqconsole.jobs.messages import Event, LogLine, MatrixDone, Paused, PhaseStarted, Progress, Resumed
from fqconsole.jobs.orders import Orders
from fqconsole.jobs.pace import Pace
from quantizer.watch import Cancelled, LogLevel, MatrixResult

PROGRESS_SECONDS = 0.1  # at most ten Progress events a second
PAUSE_POLL_SECONDS = 0.05


class JobWatch:
    """Implements `quantizer.watch.Watch` on the event pipe. `clock` is a monotonic clock in seconds."""

    def __init__(
        self,
        put: Callable[[Event], None],
        orders: Orders,
        run_id: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._put = put
        self._orders = orders
        self._run_id = run_id
        self._clock = clock
        self._process = psutil.Process()
        self._phase = ""
        self._total = 0.0
        self._before = 0.0  # units that were done when the phase began
        self._pace = Pace()
        self._told: float | None = None
        self.ahead: Ahead | None = None  # of a job whose later phases are foreseen

    def phase(self, name: str, total: float, unit: str, *, done: float = 0.0) -> None:
        self._phase, self._total, self._pace, self._told = name, total, Pace(), None
        self._before = done
        self._pace.note(self._clock(), done)
        if self.ahead is not None:
            self.ahead.begin(name, total - done)
        self._put(PhaseStarted(t=time.time(), phase=name, total=float(total), unit=unit))

    def progress(
        self,
        done: float,
        *,
        note: str = "",
        device_bytes: int | None = None,
        seconds_left: float | None = None,
    ) -> None:
        now = self._clock()
        self._pace.note(now, done)
        last = self._total > 0 and done >= self._total
        if self._told is not None and now - self._told < PROGRESS_SECONDS and not last:
            return
        self._told = now
        left = self._pace.eta(self._total) if seconds_left is None else seconds_left
        if self.ahead is not None:
            left = self.ahead.left(left, done - self._before)
        self._put(
            Progress(
                t=time.time(),
                phase=self._phase,
                done=float(done),
                total=float(self._total),
                rate=self._pace.rate(),
                eta_seconds=left,
                host_bytes=self._process.memory_info().rss,
                device_bytes=device_bytes,
                note=note,
            )
        )

    def retotal(self, total: float) -> None:
        """The size of the present phase became known only now: what went before was preparation."""
        if not self._total:
            self._pace = Pace()
        self._total = total

    def matrix(self, result: MatrixResult) -> None:
        plan = result.matrix
        if not math.isfinite(result.relative_error):
            raise OperatorError(
                f"The weights of {plan.name} are not all finite numbers, so they can't be quantized.",
                "Fetch the model again; if it stays so, the model itself is damaged.",
            )
        self._put(
            MatrixDone(
                t=time.time(),
                run_id=self._run_id,
                index=result.index,
                count=result.count,
                name=plan.name,
                layer=plan.layer,
                kind=plan.kind,
                shape=plan.shape,
                bits=plan.scheme.bits,
                group_size=plan.scheme.group_size,
                # JSON has no infinity: a statistic that is none (an all-zero matrix) is left out.
                statistic={word: value for word, value in plan.statistic.items() if math.isfinite(value)},
                relative_error=result.relative_error,
                bytes=plan.bytes,
                seconds=result.seconds,
                reason=plan.reason,
            )
        )

    def log(self, level: LogLevel, text: str) -> None:
        self._put(LogLine(t=time.time(), level=level, text=text))

    @property
    def is_held(self) -> bool:
        """Whether the operator has paused the job."""
        return self._orders.paused and not self._orders.cancelled

    def checkpoint(self) -> None:
        if self.is_held:
            self._hold()
        if self._orders.cancelled:
            raise Cancelled

    def _hold(self) -> None:
        self._put(Paused(t=time.time()))
        began = self._clock()
        # Polled, because a signal handler may only set flags: see Orders.
        while self.is_held:
            time.sleep(PAUSE_POLL_SECONDS)
        held = self._clock() - began
        self._pace.skip(held)
        if self.ahead is not None:
            self.ahead.skip(held)
        if not self._orders.cancelled:
            self._put(Resumed(t=time.time()))
