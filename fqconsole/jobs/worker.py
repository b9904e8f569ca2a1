"""The worker process: one job from its first request to its last event. Run by `fqconsole.jobs.client`.

`python -m fqconsole.jobs.worker [--events FD] [--parent PID] [--ready KIND]` reads requests as JSON lines
from standard input and writes events as JSON lines to descriptor FD (default: standard output). Nothing heavy
is loaded before the first request says which task it is; with KIND, what such a job needs is loaded before,
and an empty line among the events then says that the worker waits.
"""

import argparse
import contextlib
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NoReturn, Protocol

from fqconsole.collector import uncollected
from fqconsole.jobs import lifeline
from fqconsole.jobs.desk import Desk
from fqconsole.jobs.failures import failure_of
from fqconsole.jobs.messages import (
    JobDone,
    JobFailed,
    LogLine,
    StartDescribe,
    StartDownload,
    StartEndpoint,
    StartEvaluate,
    StartExport,
    StartPlan,
    StartProbe,
    StartQuantize,
    StartSession,
    StartTasks,
    StartVerify,
)
from fqconsole.jobs.orders import AnyStart, Orders, ProtocolError, obey_signals
from fqconsole.jobs.outlet import Outlet
from fqconsole.jobs.readiness import READY, make_ready
from fqconsole.jobs.requests import AnySession
from fqconsole.jobs.surroundings import introduction, seconds_alive
from fqconsole.stages import Stages


class Task(Protocol):
    """One kind of job: a module with these two names."""

    smallest_change: str  # the advice when memory runs out

    def run(self, request: Any, desk: Desk) -> None:
        """Do the job; raise what went wrong. A session tells the end of each run itself."""


# The registry of jobs: one new kind is one new module in tasks/ and one line here.
TASKS: dict[type, str] = {
    StartQuantize: "fqconsole.jobs.tasks.quantize",
    StartPlan: "fqconsole.jobs.tasks.plan",
    StartEvaluate: "fqconsole.jobs.tasks.evaluate",
    StartTasks: "fqconsole.jobs.tasks.benchmark",
    StartExport: "fqconsole.jobs.tasks.export",
    StartVerify: "fqconsole.jobs.tasks.verify",
    StartDescribe: "fqconsole.jobs.tasks.describe",
    StartProbe: "fqconsole.jobs.tasks.probe",
    StartDownload: "fqconsole.jobs.tasks.download",
    StartSession: "fqconsole.jobs.tasks.session",
    StartEndpoint: "fqconsole.jobs.tasks.endpoint",
}

CANCELLED_EXIT = 128 + signal.SIGINT


def serve(
    arguments: list[str],
    tasks: Mapping[type, str] = TASKS,
    introduce: Callable[[AnyStart | None], Any] = introduction,
    prepare: Callable[[str, Callable[[], bool]], None] = make_ready,
) -> int:
    """Do one job; the exit code: 0 done, 130 cancelled, 128+n ended by signal n, else the failure's."""
    parser = argparse.ArgumentParser(prog="python -m fqconsole.jobs.worker")
    parser.add_argument("--events", type=int, default=None, help="inherited descriptor that events go to")
    parser.add_argument("--parent", type=int, default=None, help="end with this process")
    parser.add_argument("--ready", choices=sorted(READY), default=None, help="load ahead what this job needs")
    options = parser.parse_args(arguments)
    lifeline.bind_to_parent(options.parent)
    faulthandler.enable()
    request_end = lifeline.take_requests()
    event_end = lifeline.take_events(options.events)

    outlet: Outlet
    orders = Orders(request_end, lambda text: outlet.put(LogLine(t=time.time(), level="error", text=text)))
    outlet = Outlet(event_end, on_broken=orders.cancel)
    obey_signals(orders)
    orders.listen()
    try:
        if options.ready is not None:
            prepare(options.ready, orders.is_asked)
            outlet.put_sign()
        return _attend(orders, outlet, tasks, introduce, waited=options.ready is not None)
    finally:
        outlet.close(hurried=lambda: orders.signal is not None)


def _attend(
    orders: Orders,
    outlet: Outlet,
    tasks: Mapping[type, str],
    introduce: Callable[[AnyStart | None], Any],
    *,
    waited: bool,
) -> int:
    """`waited`: the worker was there before it was asked for, and its start begins with the request."""
    from quantizer.watch import Cancelled

    run_id = ""
    owes_end = True  # a session tells the end of each run itself
    smallest_change = ""
    stages = Stages()
    if not waited:
        stages.add("python", seconds_alive())
    try:
        try:
            request = orders.first()
        except ProtocolError as error:
            run_id = error.run_id
            outlet.put(introduce(None))
            raise
        run_id = getattr(request, "run_id", "")
        owes_end = not isinstance(request, AnySession)
        if waited:
            stages = Stages(since=orders.came_at)
        stages.ended("imports" if waited else "request")
        with uncollected():
            outlet.put(introduce(request))
        stages.ended("torch and device")
        desk = Desk(outlet.put, orders, request, stages)
        desk.watch.checkpoint()
        with uncollected():
            task: Any = import_module(tasks[type(request)])
        stages.ended("imports")
        smallest_change = task.smallest_change
        task.run(request, desk)
    except Cancelled:
        if owes_end:
            outlet.put(JobDone(t=time.time(), run_id=run_id, status="cancelled"))
        return _cancelled_code(orders)
    except BaseException as error:  # noqa: BLE001 - whatever ends the job is told as its last event
        failure = failure_of(error, run_id, smallest_change)
        _log(failure)
        outlet.put(failure)
        return failure.exit_code
    if owes_end:
        outlet.put(JobDone(t=time.time(), run_id=run_id, status="done"))
    return 0


def _cancelled_code(orders: Orders) -> int:
    return CANCELLED_EXIT if orders.signal is None else 128 + orders.signal


def _log(failure: JobFailed) -> None:
    print(f"{failure.what}\n{failure.details}", file=sys.stderr, flush=True)  # noqa: T201 - this is the log file


def main() -> NoReturn:
    """End by `os._exit`: threads of native libraries that still run would make an abort of an orderly end."""
    code = serve(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
