"""One log file a worker: everything that the worker and its libraries print."""

import os
import re
import secrets
import time
from pathlib import Path

KEPT_LOGS = 100
TAIL_LINES = 60
TAIL_BYTES = 16 * 1024


def new_worker_log(folder: Path, label: str) -> Path:
    """An empty file for one worker, readable by its owner only; the oldest logs make room.

    Raises OSError where the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _drop_oldest(folder, keep=KEPT_LOGS - 1)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    word = re.sub(r"[^\w-]+", "-", label)[:40] or "job"
    path = folder / f"worker-{stamp}-{word}-{secrets.token_hex(3)}.log"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


def _drop_oldest(folder: Path, keep: int) -> None:
    logs = sorted(folder.glob("worker-*.log"), key=_modified)
    for path in logs[: max(0, len(logs) - keep)]:
        path.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def last_lines(path: Path) -> str:
    """The end of a log, for the details of a failure; empty where it can't be read."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:])
    except OSError:
        return ""
