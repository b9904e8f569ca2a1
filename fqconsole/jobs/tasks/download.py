"""The download job: a hub model into the standard Hugging Face cache."""

import time
from pathlib import Path

from fqconsole.jobs.desk import Desk
from fqconsole.jobs.messages import DownloadDone, StartDownload
from fqconsole.models.download import download

smallest_change = "Close other programs, then start the download again: it goes on where it stopped."


def run(request: StartDownload, desk: Desk) -> None:
    """Fetch `request.model_id`; every report of progress is also a place where the job may hold or end."""
    watch = desk.watch
    watch.phase("download", 0, "B")

    def on_progress(done: int, total: int) -> None:
        watch.retotal(total)
        watch.progress(done)

    folder = download(request.model_id, request.revision, on_progress, lambda: desk.orders.cancelled)
    # A cancelled download ends without a folder that is whole.
    watch.checkpoint()
    desk.put(
        DownloadDone(t=time.time(), run_id=request.run_id, path=str(folder), bytes=_folder_bytes(folder))
    )


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
