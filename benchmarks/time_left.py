"""Whether the time left that a quantize job tells comes true.

    python -m benchmarks.time_left [--gigabytes 2] [--modes fast finequant best] [--jobs 2] [--device auto]
                                   [--place DIR] [--every] [--json]

A model of random weights of that size is written into DIR (a temporary folder by default; memory,
/dev/shm, keeps a slow disk out of it) and quantized as from the console, by a worker process, in each mode
--jobs times. The first job of a mode meets a machine that never saw one. Each report gives the seconds that
the job still takes, as told and truly; the error is their difference over the seconds of the whole job, from
the worker's first event to its checkpoint. Told is the largest error from the first tenth of the time on.
On a machine that does other work meanwhile the figures tell of that too.
"""

import argparse
import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks._checkpoint import write_checkpoint
from benchmarks._table import hardware, table
from fqconsole.jobs.client import Job
from fqconsole.jobs.messages import CheckpointWritten, Event, JobFailed, Progress, StartQuantize
from quantizer.device import resolve_devices

FROM = 0.1  # of the job's time
TARGET = 0.2


@dataclass(frozen=True)
class Report:
    """One Progress event: share of the job's time that has passed, seconds left as told and truly."""

    phase: str
    passed: float
    told: float | None
    true: float


@dataclass(frozen=True)
class Truth:
    """How true the reports of one job are, from its first tenth on."""

    mode: str
    job: int
    seconds: float
    reports: int
    silent: int  # that tell no time
    largest: float  # error, a share of the whole job
    at: float  # share of the time that had passed then
    phase: str
    typical: float


def reports_of(events: Sequence[Event]) -> tuple[float, list[Report]]:
    """Seconds of the whole job and its reports. Raises ValueError where no checkpoint was written."""
    end = next((event.t for event in events if isinstance(event, CheckpointWritten)), None)
    if end is None:
        raise ValueError("the job wrote no checkpoint")
    begun = events[0].t
    whole = end - begun
    reports = [
        Report(event.phase, (event.t - begun) / whole, event.eta_seconds, end - event.t)
        for event in events
        if isinstance(event, Progress) and event.t <= end
    ]
    return whole, reports


def truth_of(mode: str, job: int, events: Sequence[Event]) -> Truth:
    """The errors of one job. Raises ValueError where no report tells anything from the first tenth on."""
    whole, reports = reports_of(events)
    late = [report for report in reports if report.passed >= FROM]
    errors = sorted(
        (abs(report.told - report.true) / whole, report.passed, report.phase)
        for report in late
        if report.told is not None
    )
    if not errors:
        raise ValueError("the job told no time")
    largest, at, phase = errors[-1]
    return Truth(
        mode=mode,
        job=job,
        seconds=whole,
        reports=len(late),
        silent=len(late) - len(errors),
        largest=largest,
        at=at,
        phase=phase,
        typical=errors[len(errors) // 2][0],
    )


async def events_of(source: Path, out: Path, mode: str, device: str) -> list[Event]:
    """All events of one job. Raises RuntimeError with the sentence of a job that failed."""
    request = StartQuantize(
        run_id="r1", model_id="synthetic", model_path=str(source), out=str(out), bits=4, mode=mode,
        device=device,
    )  # fmt: skip
    events: list[Event] = []
    async with await Job.start(request) as job:
        async for event in job.events():
            match event:
                case JobFailed():
                    raise RuntimeError(event.what)
            events.append(event)
    return events


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--modes", nargs="+", default=["fast", "finequant", "best"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--place", type=Path, help="an existing folder for the model and the checkpoints")
    parser.add_argument("--every", action="store_true", help="print every report too")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    asked = parser.parse_args()
    found: list[Truth] = []
    with tempfile.TemporaryDirectory(dir=asked.place) as folder:
        source = write_checkpoint(Path(folder) / "source", asked.gigabytes)
        os.environ["FQCONSOLE_HOME"] = str(Path(folder) / "home")  # nothing was learned there
        for mode in asked.modes:
            for number in range(1, asked.jobs + 1):
                out = Path(folder) / "out"
                events = asyncio.run(events_of(source, out, mode, asked.device))
                shutil.rmtree(out)
                found.append(truth_of(mode, number, events))
                if asked.every:
                    for report in reports_of(events)[1]:
                        told = "-" if report.told is None else f"{report.told:.1f}"
                        print(f"{mode} {number} {report.phase} {report.passed:.3f} {told} {report.true:.1f}")
    if asked.json:
        print(json.dumps([asdict(truth) for truth in found]))
        return
    rows = [
        (
            truth.mode, str(truth.job), f"{truth.seconds:.1f} s", str(truth.reports), str(truth.silent),
            f"{truth.largest:.0%}", f"{truth.at:.0%}, {truth.phase}", f"{truth.typical:.0%}",
        )
        for truth in found
    ]  # fmt: skip
    print(f"{asked.gigabytes:g} GB of 16-bit weights, 4 bits; {hardware(resolve_devices(asked.device)[0])}")
    print(table(("mode", "job", "took", "reports", "silent", "largest error", "at", "typical error"), rows))
    held = all(truth.largest <= TARGET and not truth.silent for truth in found)
    print(f"aim: {TARGET:.0%} from the first tenth on: {'held' if held else 'missed'}")


if __name__ == "__main__":
    main()
