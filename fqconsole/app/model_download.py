"""What the Models screen tells of a download that is under way."""

from collections.abc import Iterable

from fqconsole.app import formatting
from fqconsole.app.job_runner import JobHandle
from fqconsole.jobs.messages import StartDownload


def downloading_line(active: Iterable[JobHandle], model_id: str) -> str:
    """`Downloading: 4.6 GiB of 15.3 GiB, 01:44 left.`; empty where this model is not being downloaded."""
    for job in active:
        if isinstance(job.request, StartDownload) and job.request.model_id == model_id:
            part = job.progress
            if part is None or not part.total:
                return "Downloading: it begins. Other screens stay usable."
            done, total = formatting.memory(part.done), formatting.memory(part.total)
            return (
                f"Downloading: {done} of {total}, {formatting.duration(part.eta_seconds)} left. "
                "Other screens stay usable."
            )
    return ""
