"""What the Models screen tells of a download that is under way."""

from collections.abc import Iterable

from fqconsole.app import formatting
from fqconsole.app.job_runner import JobHandle
from fqconsole.jobs.messages import StartDownload


def download_of(active: Iterable[JobHandle], model_id: str) -> JobHandle | None:
    """The job that downloads this model now."""
    for job in active:
        if isinstance(job.request, StartDownload) and job.request.model_id == model_id:
            return job
    return None


def downloading_line(job: JobHandle | None) -> str:
    """`Downloading: 4.6 GiB of 15.3 GiB, 01:44 left.`; empty without a download."""
    if job is None:
        return ""
    part = job.progress
    if part is None or not part.total:
        return "Downloading: it begins. Other screens stay usable."
    done, total = formatting.memory(part.done), formatting.memory(part.total)
    left = formatting.duration(part.eta_seconds)
    return f"Downloading: {done} of {total}, {left} left. Other screens stay usable."
