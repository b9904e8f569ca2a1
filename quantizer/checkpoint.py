"""The life of a checkpoint's folder: claimed under a lock as `OUT.partial-<id>`, filled, renamed to `OUT`.

`OUT` appears only when it is whole. The lock is the kernel's (`flock` on the partial folder itself), so it
dies with its owner. A folder left behind by a killed run is gone on with by the same plan and refused to any
other.
"""

import errno
import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fqconsole.errors import OperatorError, UsageError
from quantizer.disk import TEMPORARY, sync_folder, write_failure
from quantizer.journal import JOURNAL, read_journal
from quantizer.plan import Plan, plan_fingerprint

PARTIAL = ".partial-"
DECIDED_BY_WEIGHTS = ("matrices", "kept", "channels")  # fields of a plan
ID_LENGTH = 8  # of the plan's fingerprint: tells a handful of plans for one folder apart
GIB = 1 << 30


class Unfinished(msgspec.Struct, frozen=True):
    """A run that ended before its checkpoint was whole."""

    folder: str
    plan: Plan
    finished_parts: int
    in_use: bool  # another process is writing it now


class PartialFolder:
    """A claimed partial folder; `publish` gives it its final name."""

    def __init__(self, path: Path, out: Path, fd: int) -> None:
        self.path = path
        self._out = out
        self._fd = fd

    def publish(self) -> None:
        """Sync and rename to the final name. Raises OperatorError when something stands there by now."""
        try:
            os.fsync(self._fd)
            self.path.rename(self._out)
            sync_folder(self._out.parent)
            (self._out / JOURNAL).unlink(missing_ok=True)
        except OSError as failure:
            if self._out.is_dir():
                raise UsageError(
                    f"{self._out} was filled meanwhile; the checkpoint lies in {self.path}.",
                    "Move it by hand.",
                ) from failure
            raise write_failure(failure, self._out) from failure

    def leave(self) -> None:
        """Keep the folder for a resume when at least one part of it is finished, else delete it."""
        if not self.path.exists():
            return
        if read_journal(self.path)[1]:
            for temporary in self.path.glob(f"*{TEMPORARY}"):
                temporary.unlink(missing_ok=True)
        else:
            shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def claim_folder(out: Path, plan: Plan) -> Iterator[PartialFolder]:
    """Hold the partial folder of `out` for this plan, new or left by a killed run.

    Raises UsageError when `out` exists with something in it, when another run is writing it, or when an
    unfinished run with another plan stands there; OperatorError when the place is not writable. Whatever
    ends the block without `publish` leaves the partial folder only if it is worth going on with.
    """
    out = out.expanduser().absolute()
    require_free(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        mine = out.with_name(out.name + PARTIAL + plan_fingerprint(plan)[:ID_LENGTH])
        for other in partial_folders(out):
            if other != mine:
                _clear_away(other, out)
        mine.mkdir(exist_ok=True)
        sync_folder(out.parent)  # a power cut must not take the folder with all that it holds
        fd = os.open(mine, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as failure:
        raise write_failure(failure, out) from failure
    try:
        if not _lock(fd) or not _is_still(mine, fd):
            raise UsageError(f"Another run is writing {out}.", "Wait for it, or choose another folder.")
        folder = PartialFolder(mine, out, fd)
        try:
            require_free(out)
            yield folder
        except BaseException:
            folder.leave()
            raise
    finally:
        os.close(fd)


def require_free(out: Path) -> None:
    """Raises UsageError unless `out` is a new name or an empty folder."""
    if out.is_dir():
        if any(out.iterdir()):
            raise UsageError(f"{out} exists already.", "Choose another folder with --out, or delete it.")
    elif out.exists() or out.is_symlink():
        raise UsageError(f"{out} exists and is no folder.", "Choose another folder with --out.")


def partial_folders(out: Path) -> list[Path]:
    """The partial folders beside `out` that were begun for it."""
    return sorted(p for p in out.parent.glob(glob.escape(out.name) + PARTIAL + "*") if p.is_dir())


def find_unfinished(out: Path) -> Unfinished | None:
    """The run for `out` that can be gone on with, without a new analysis; None where there is none."""
    for folder in partial_folders(out.expanduser().absolute()):
        head, records, _ = read_journal(folder)
        if head is not None:
            files = {record.shard.file for record in records}
            return Unfinished(str(folder), head.plan, len(files), in_use=_is_locked(folder))
    return None


def unfinished_plan(out: Path, draft: Plan) -> Plan | None:
    """The plan of the unfinished run for `out` when that was begun as `draft` was: no new analysis then.

    `draft` is the plan before the weights are read; all that the operator decides has to agree.
    """
    unfinished = find_unfinished(out)
    if unfinished is None:
        return None
    asked = [name for name in draft.__struct_fields__ if name not in DECIDED_BY_WEIGHTS]
    same = all(getattr(unfinished.plan, name) == getattr(draft, name) for name in asked)
    return unfinished.plan if same else None


def require_space(folder: Path, needed: int) -> None:
    """Raises OperatorError, saying how many GiB are short, when `needed` more bytes don't fit on the disk."""
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return
    short = max(0.1, (needed - free) / GIB)
    raise OperatorError(
        f"The checkpoint needs {needed / GIB:.1f} GiB and the disk under {folder.parent} has "
        f"{free / GIB:.1f} GiB free: {short:.1f} GiB short.",
        "Free space there, or choose a folder on another disk with --out.",
    )


def _clear_away(other: Path, out: Path) -> None:
    """Delete another plan's partial folder when nothing in it is finished; refuse otherwise."""
    if _is_locked(other):
        raise UsageError(
            f"Another run is writing {out}.", "Wait for it, or choose another folder with --out."
        )
    if read_journal(other)[1]:
        raise UsageError(
            f"{other} holds an unfinished run with another plan.",
            "Delete it, go on with that run, or choose another folder with --out.",
        )
    shutil.rmtree(other, ignore_errors=True)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as failure:
        # Some network file systems have no locks; a run there is not refused for that.
        if failure.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return True


def _is_still(path: Path, fd: int) -> bool:
    """Whether the locked folder still has its name: its owner may have published it just now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _is_locked(folder: Path) -> bool:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return not _lock(fd)
    finally:
        os.close(fd)
