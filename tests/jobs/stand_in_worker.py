"""A real worker process whose jobs are the trivial ones of `stand_in_tasks`: for tests only."""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fqconsole.jobs.messages import (
    PROTOCOL,
    StartDownload,
    StartEvaluate,
    StartQuantize,
    StartSession,
    WorkerStarted,
)
from fqconsole.jobs.worker import serve

TASKS = {
    StartQuantize: "stand_in_tasks.quantize",
    StartEvaluate: "stand_in_tasks.fault",
    StartDownload: "stand_in_tasks.flood",
    StartSession: "stand_in_tasks.session",
}


def introduce(request):
    """Like the real introduction, without torch."""
    return WorkerStarted(
        t=time.time(),
        pid=os.getpid(),
        protocol=PROTOCOL,
        versions={"python": "3"},
        device="cpu",
        device_name="stand-in",
        run_id=getattr(request, "run_id", ""),
    )


def prepare(_kind, is_asked):
    """As if loading took STAND_IN_LOADING seconds, and one module 10 ms."""
    end = time.monotonic() + float(os.environ.get("STAND_IN_LOADING", "0"))
    while time.monotonic() < end and not is_asked():
        time.sleep(0.01)


if __name__ == "__main__":
    code = serve(sys.argv[1:], TASKS, introduce, prepare)
    sys.stdout.flush()
    os._exit(code)
