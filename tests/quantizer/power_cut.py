"""A disk that forgets: what was not synced when the power went is gone, be it content or name."""

import os
import stat
import threading
from pathlib import Path


class PowerCut(BaseException):
    """The power is gone. No program hears of it in time, so nothing may catch it."""


class ForgetfulDisk:
    """Counts `fsync` and cuts the power at the `cut_at`-th; knows what of a folder's tree had been synced."""

    def __init__(self, root: Path, cut_at: int | None = None) -> None:
        self._root = root
        self._cut_at = cut_at
        self._contents: dict[int, bytes] = {}  # by inode
        self._names: dict[int, dict[str, int]] = {}
        self._held: list[int] = []  # so that no inode is used twice
        self._last: dict[int, dict[str, int]] = {}  # names when the power went
        self.syncs = 0
        self._one_at_a_time = threading.Lock()  # files are synced from several threads

    def fsync(self, fd: int) -> None:
        """In the place of `os.fsync`."""
        with self._one_at_a_time:
            self.syncs += 1
            if self._cut_at is not None and self.syncs >= self._cut_at:
                if self.syncs == self._cut_at:
                    self._last = {place.stat().st_ino: _listing(place) for place in _folders(self._root)}
                raise PowerCut
            self._held.append(os.dup(fd))
            found = os.fstat(fd)
            place = Path(f"/proc/self/fd/{fd}")
            if stat.S_ISDIR(found.st_mode):
                self._names[found.st_ino] = _listing(place.resolve())
            else:
                self._contents[found.st_ino] = place.read_bytes()

    def synced_lines(self, name: str) -> int:
        """Lines of a file that were synced, wherever in the tree it was when the power went."""
        inodes = [ino for listing in self._last.values() for found, ino in listing.items() if found == name]
        return sum(self._contents.get(ino, b"").count(b"\n") for ino in inodes)

    def after(self, target: Path, *, names_kept: bool) -> Path:
        """The tree as it is found when the power is back; `names_kept`: names reached the disk by themselves,
        as they may, and only contents are lost.
        """
        self._restore(self._root.stat().st_ino, target, self._last if names_kept else self._names)
        return target

    def close(self) -> None:
        for fd in self._held:
            os.close(fd)

    def _restore(self, folder: int, target: Path, names: dict[int, dict[str, int]]) -> None:
        target.mkdir()
        for name, ino in names.get(folder, {}).items():
            if ino in self._last or ino in self._names:
                self._restore(ino, target / name, names)
            else:
                (target / name).write_bytes(self._contents.get(ino, b""))


def _folders(root: Path) -> list[Path]:
    return [Path(place) for place, _, _ in os.walk(root)]


def _listing(place: Path) -> dict[str, int]:
    return {entry.name: entry.inode() for entry in os.scandir(place)}
