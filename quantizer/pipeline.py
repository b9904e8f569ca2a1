"""Reading, computing and writing at the same time: a bounded pipeline of threads.

    lane ─ reads ─┐             ┌─ worker on device 0 ─┐
    lane ─ reads ─┼─► one queue ┼─ worker on device 0 ─┼─► results ─► the job's own thread
                  ┘             └─ worker on device 1 ─┘       ▲
                                                 afterwork ────┘

A lane is an iterator that reads what a task needs and yields the task; workers take the tasks from one
queue, so the devices share them by their own speed. A ticket goes with each task from before its reading
until its result is taken: what is under way is bounded, and a job that pauses holds everything still. torch,
hashing and file calls all let other threads run meanwhile.
"""

import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

from quantizer.device import device_failures, working_on

Result = TypeVar("Result")
Task = Callable[[torch.device], Result]
Lane = Callable[[], Generator[Task[Result], None, None]]

MOST_AFTERWORKERS = 6  # they sync and hash what is written, a file each
WAITING_A_WORKER = 2  # jobs under way or waiting
# Seconds after which a thread that computes in Python lets another one go on, which has read or waited for a
# GPU: at Python's own 5 ms a job of twenty threads took half as long again.
SWITCH_INTERVAL = 0.0005


@dataclass(frozen=True)
class _Done(Generic[Result]):
    value: Result | None
    ticket: bool  # False: of afterwork


@dataclass(frozen=True)
class _Failed:
    error: BaseException


@dataclass(frozen=True)
class _LaneEnded:
    tasks: int


class Pipeline(Generic[Result]):
    """Runs lanes of tasks on workers; a context manager that leaves no thread behind."""

    def __init__(
        self,
        lanes: Sequence[Lane[Result]],
        workers: Sequence[torch.device],
        *,
        readers: int,
        depth: int,
    ) -> None:
        """`readers` lanes at a time; one worker thread for each entry of `workers`; `depth` tasks under way
        at most, from their reading until their result is taken.
        """
        self._lanes = deque(lanes)
        self._open_lanes = len(lanes)
        self._tasks: queue.SimpleQueue[Task[Result] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[_Done[Result] | _Failed | _LaneEnded] = queue.SimpleQueue()
        self._tickets = threading.Semaphore(depth)
        self._ending = threading.Event()
        self._expected = self._taken = self._late = 0
        self._interval = sys.getswitchinterval()
        after = max(2, min(MOST_AFTERWORKERS, len(os.sched_getaffinity(0)) // 3))
        self._afterwork = ThreadPoolExecutor(max_workers=after, thread_name_prefix="afterwork")
        self._room = threading.Semaphore(WAITING_A_WORKER * after)
        count = max(1, min(readers, len(lanes)))
        self._readers = [threading.Thread(target=self._read, name=f"reader-{i}") for i in range(count)]
        self._workers = [
            threading.Thread(target=self._work, args=(device,), name=f"worker-{i}-{device}")
            for i, device in enumerate(workers)
        ]

    def __enter__(self) -> Self:
        sys.setswitchinterval(SWITCH_INTERVAL)
        for thread in (*self._readers, *self._workers):
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        sys.setswitchinterval(self._interval)

    def results(self) -> Iterator[Result]:
        """The results as they come, in any order, afterwork's too. Raises what was raised first."""
        while self._open_lanes or self._taken < self._expected or self._late:
            came = self._results.get()
            if isinstance(came, _Failed):
                raise came.error
            if isinstance(came, _LaneEnded):
                self._open_lanes -= 1
                self._expected += came.tasks
                continue
            if came.ticket:
                self._taken += 1
                self._tickets.release()
            else:
                self._late -= 1
            if came.value is not None:
                yield came.value

    def later(self, job: Callable[[], Result | None]) -> None:
        """Run a job that needs no device (syncing a file, say) beside the tasks; its result is one of the
        results, None is not.

        To be called from the thread that takes the results. Waits while too many such jobs are waiting: a
        disk that is slower than the rest then holds up the rest, and progress stays true.
        """
        self._room.acquire()
        self._late += 1
        self._afterwork.submit(self._guarded, job)

    def stop(self) -> list[Result]:
        """End every thread once what was read is worked through; gives the results that nobody took yet."""
        self._ending.set()
        for _ in self._readers:
            self._tickets.release()
        for thread in self._readers:
            thread.join()
        for _ in self._workers:
            self._tasks.put(None)
        for thread in self._workers:
            thread.join()
        self._afterwork.shutdown(wait=True)
        left = []
        while not self._results.empty():
            came = self._results.get()
            if isinstance(came, _Done) and came.value is not None:
                left.append(came.value)
        return left

    def _read(self) -> None:
        while not self._ending.is_set():
            try:
                lane = self._lanes.popleft()
            except IndexError:
                return
            tasks = 0
            try:
                with closing(lane()) as source:
                    for _ in self._feed(source):
                        tasks += 1
            except BaseException as error:  # noqa: BLE001 -- raised again in the job's own thread
                self._results.put(_Failed(error))
                return
            self._results.put(_LaneEnded(tasks))

    def _feed(self, tasks: Iterator[Task[Result]]) -> Iterator[None]:
        while True:
            self._tickets.acquire()
            if self._ending.is_set():
                return
            try:
                task = next(tasks)
            except StopIteration:
                self._tickets.release()
                return
            self._tasks.put(task)
            yield

    def _work(self, device: torch.device) -> None:
        with working_on(device):
            while (task := self._tasks.get()) is not None:
                try:
                    with device_failures(device):
                        done = _Done(task(device), ticket=True)
                except BaseException as error:  # noqa: BLE001 -- raised again in the job's own thread
                    self._results.put(_Failed(error))
                else:
                    self._results.put(done)
                del task  # what it has read is not to be held while waiting

    def _guarded(self, job: Callable[[], Result | None]) -> None:
        try:
            self._results.put(_Done(job(), ticket=False))
        except BaseException as error:  # noqa: BLE001 -- raised again in the job's own thread
            self._results.put(_Failed(error))
        finally:
            self._room.release()
