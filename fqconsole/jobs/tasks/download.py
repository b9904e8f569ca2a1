"""The download job: a hub model into the standard Hugging Face cache."""

import time
from pathlib import Path

from fqconsole.jobs.desk import Desk
from fqconsole.jobs.messages import DownloadDone, StartDownload
from fqconsole.models.download import DownloadCancelled, download
from quantizer.watch import Cancelled

smallest_change = "Close other programs, then start the download again: it goes on where it stopped."


def run(request: StartDownload, desk: Desk) -> None:
    """Fetch `request.model_id`. A download does not pause: the other end would hang up."""
    watch = desk.watch
    watch.phase("download", 0, "B")

    def on_progress(done: int, total: int) -> None:
        watch.retotal(total)
        watch.progress(done)

    try:
        folder = download(request.model_id, request.revision, on_progress, lambda: desk.orders.cancelled)
    except DownloadCancelled:
        raise Cancelled from None
    desk.put(
        DownloadDone(t=time.time(), run_id=request.run_id, path=str(folder), bytes=_folder_bytes(folder))
    )


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
