"""What a failure becomes: one line that says what and what next, an exit code, and the traceback in a log."""

import errno
import os
import time
import traceback
from pathlib import Path

from fqconsole import paths
from fqconsole.cli.output import complain
from fqconsole.errors import OperatorError

LOG_NAME = "fqconsole.log"
LOG_BYTES = 1_000_000


def report(error: Exception) -> int:
    """Tell the operator about `error` and return the exit code."""
    if isinstance(error, OperatorError):
        complain(str(error))
        return error.exit_code
    from store import StoreError

    if isinstance(error, StoreError):
        complain(str(error))
        return error.exit_code
    sentence = _file_sentence(error)
    log = _keep_traceback(error)
    if sentence:
        complain(sentence)
        return 1
    where = f"The traceback is in {log}." if log else "Its traceback could not be written to the log folder."
    complain(f"An internal error ended this command: {type(error).__name__}: {error}. {where}")
    return 1


def _file_sentence(error: Exception) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return ""
    if error.errno == errno.ENOSPC:
        return f"The disk is full{_at(error)}. Make room, then run the command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to write or read{_at(error)}. Choose another place or change its permissions."
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return f"{error.strerror}{_at(error)}. Check the path."
    return ""


def _at(error: OSError) -> str:
    return f": {error.filename}" if error.filename else ""


def _keep_traceback(error: Exception) -> Path | None:
    """Append to the log and return its path; None where that is impossible too."""
    log = paths.log_dir() / LOG_NAME
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} pid {os.getpid()}\n")
            file.writelines(traceback.format_exception(error))
    except OSError:
        return None
    return log
