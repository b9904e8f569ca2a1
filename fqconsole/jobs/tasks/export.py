"""The export job: a checkpoint in another format."""

import time
from pathlib import Path

from fqconsole.jobs.desk import Desk
from fqconsole.jobs.messages import ExportDone, StartExport
from quantizer.export import export

smallest_change = "Free memory: an export holds one matrix at a time."


def run(request: StartExport, desk: Desk) -> None:
    """Write `request.checkpoint_path` to `request.out`."""
    started = time.perf_counter()
    made = export(
        Path(request.checkpoint_path),
        Path(request.out),
        to=request.to,
        inexact=request.inexact,
        watch=desk.watch,
    )
    desk.put(
        ExportDone(
            t=time.time(),
            path=str(made.path),
            to=request.to,
            bytes=made.bytes,
            exact=made.exact,
            notes=made.notes,
            seconds=time.perf_counter() - started,
        )
    )
