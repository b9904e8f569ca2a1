"""The processes of one model on several GPUs, as the leading rank, this process, has them in hand.

They end with it: their standard input is a pipe from here. When one of them is gone, the others are ended and
every call from then on raises RankLostError.
"""

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fqconsole.errors import DeviceError
from fqconsole.generation.device import release
from fqconsole.generation.parallel.link import Link
from fqconsole.generation.parallel.orders import (
    Answer,
    Order,
    decode,
    encode,
    failure_of,
    is_out_of_memory,
)
from fqconsole.generation.parallel.rank import place_of

FOLLOWER = (sys.executable, "-P", "-m", "fqconsole.generation.parallel.follower")
NOTICED = 1.0  # seconds that a failed exchange waits for the news of who is gone, and the news for a failure
ENDING = 2.0  # seconds that a rank has to end in order


class RankLostError(DeviceError):
    """One of the processes of a model is gone; the session with it."""

    code = "rank_lost"


class Ranks:
    """Ranks 1 … count - 1.

    `on_stuck` is told when this process does not notice that one is gone: it hangs, or is idle.
    """

    def __init__(
        self, count: int, device: str, on_stuck: Callable[[RankLostError], None] | None = None
    ) -> None:
        """Starts them and waits until all are connected; raises what stands in the way."""
        self.count = count
        self.lost: RankLostError | None = None
        self.recovers = True  # gloo can't free a rank that waits for one other rank alone
        self.meetings = 0  # how often all have met: what was told before is forgotten
        self._device = device
        self._on_stuck = on_stuck
        self._closing = False
        self._meeting = False
        self._lock = threading.Lock()
        self._noticed = threading.Event()
        self._news = threading.Event()  # one is gone, or out of memory
        self._folder = Path(tempfile.mkdtemp(prefix="fqconsole-ranks-"))
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine
        self._others = [_Process(rank) for rank in range(1, count)]
        for other in self._others:
            threading.Thread(target=self._listen, args=(other,), daemon=True).start()
        try:
            self.ask(Order("hello"))
            meeting = self._next_meeting()
            self.tell(Order("connect", device=device, count=count, meeting=str(meeting)))
            with self.working():
                self.link = Link(0, count, place_of(device, 0), meeting)
            self.answers()
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the other processes."""
        return tuple(other.process.pid for other in self._others)

    def tell(self, order: Order) -> None:
        """Have every other rank do this."""
        self.check()
        line = encode(order)
        for other in self._others:
            try:
                other.orders.write(line)
                other.orders.flush()
            except OSError:
                self._lose(other)
        self.check()

    def answers(self) -> list[str]:
        """What each rank said to the last order; raises its failure, of several the first."""
        found = [other.answers.get() for other in self._others]
        self.check()
        for answer in found:
            if answer is not None and answer.what:
                raise failure_of(answer)
        return [answer.said for answer in found if answer is not None]

    def ask(self, order: Order) -> list[str]:
        """`tell` and `answers`."""
        self.tell(order)
        return self.answers()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around what exchanges something. Where memory runs out on one rank, all forget their texts and meet
        again, and torch.OutOfMemoryError says where; any other failure of one leaves the rest waiting and
        ends all.
        """
        try:
            yield
        except Exception as error:
            own = is_out_of_memory(error)
            if not own:
                self._news.wait(NOTICED)
            traceback.clear_frames(error.__traceback__)  # they hold what was computed
            release(place_of(self._device, 0))
            self.check()
            if own:
                self._meet_again(error)
                raise
            self._closing = True
            self._end_others()
            self.lost = RankLostError("The GPUs of this model are out of step.", "Load the model again.")
            raise
        self.check()

    def check(self) -> None:
        """Raises RankLostError when one is gone; torch.OutOfMemoryError when one had left for want of memory,
        and all are together again.
        """
        if self.lost is not None:
            self._noticed.set()
            raise self.lost
        short = next((other for other in self._others if other.short is not None), None)
        if short is not None and not self._meeting and not self._closing:
            assert short.short is not None  # noqa: S101 - chosen a line above
            failure = failure_of(short.short)
            self._meet_again(failure)
            raise failure

    def _free(self) -> None:
        """Have this process return from waiting for a rank that has left or is gone."""
        link = getattr(self, "link", None)
        if link is not None:
            link.free()

    def _next_meeting(self) -> Path:
        self.meetings += 1
        return self._folder / f"meeting-{self.meetings}"

    def _meet_again(self, short: Exception) -> None:
        """After `short`, for want of memory: every rank keeps its part of the model and drops all else.
        Raises RankLostError where that can't be; the ranks are ended then.
        """
        self._meeting = True
        try:
            if not self.recovers:
                raise short
            meeting = self._next_meeting()
            self.link.leave()
            self.tell(Order("rejoin", meeting=str(meeting)))
            self.link.join(meeting)
            for other in self._others:  # what was asked before may be answered before
                while (answer := other.answers.get()) is not None and answer.said != str(meeting):
                    pass
            self.check()
        except BaseException as error:
            self._closing = True
            self._end_others()
            if self.lost is None:
                said = str(error).partition("\n")[0].rstrip(".")
                self.lost = RankLostError(
                    f"The GPUs of this model can't go on together: {said}.",
                    "Load the model again with a shorter --context or fewer bits.",
                )
            raise self.lost from error
        finally:
            self._meeting = False
        for other in self._others:
            other.short = None
        self._news.clear()

    def close(self) -> None:
        """End all, in order where they still listen."""
        if not self._closing:
            self._closing = True
            with suppress(OSError, RankLostError):
                self.tell(Order("end"))
        link = getattr(self, "link", None)
        if link is not None and self.lost is None:
            link.close()
        deadline = time.monotonic() + ENDING
        for other in self._others:
            with suppress(subprocess.TimeoutExpired):
                other.process.wait(max(0.0, deadline - time.monotonic()))
        self._end_others()
        if link is not None and self.lost is not None:
            with suppress(RuntimeError):
                link.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end_others(self) -> None:
        for other in self._others:
            with suppress(OSError):
                other.orders.close()
            other.process.kill()
            other.process.wait()

    def _listen(self, other: "_Process") -> None:
        with os.fdopen(other.receiving, "rb") as lines:
            for line in lines:
                other.last = decode(line, Answer)
                if other.last.unasked:
                    other.short = other.last
                    self._news.set()
                    self._free()
                else:
                    other.answers.put(other.last)
        if not self._closing:
            self._lose(other)
        other.answers.put(None)

    def _lose(self, gone: "_Process") -> None:
        with self._lock:
            if self._closing or self.lost is not None:
                return
            code = gone.process.wait()
            self.lost = RankLostError(
                f"The process of {self._name(gone.rank)} is gone: {_why(code, gone.last)}.",
                "Load the model again; `nvidia-smi` shows whether every GPU answers.",
            )
        self._end_others()
        self._news.set()
        for other in self._others:
            other.answers.put(None)
        self._free()
        if self._on_stuck is not None and not self._noticed.wait(NOTICED):
            self._on_stuck(self.lost)

    def _name(self, rank: int) -> str:
        place = place_of(self._device, rank)
        return f"rank {rank} (cpu)" if place.type == "cpu" else f"GPU {place.index}"


class _Process:
    """One of the other ranks."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.last: Answer | None = None
        self.short: Answer | None = None  # it ran out of memory and has left the exchange
        self.answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self.receiving, answering = os.pipe()
        try:
            self.process = subprocess.Popen(
                [
                    *FOLLOWER, "--rank", str(rank), "--answers", str(answering),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(answering,),
            )  # fmt: skip
        finally:
            os.close(answering)
        assert self.process.stdin is not None  # noqa: S101 - asked for above
        self.orders = self.process.stdin


def _why(code: int, last: Answer | None) -> str:
    if last is not None and last.what:
        return last.what.rstrip(".")
    return f"killed by signal {-code}" if code < 0 else f"it ended with {code}"
