"""What is finished of a checkpoint under construction: one JSON line a part, synced before the next begins.

The journal, not the store, says where a killed run goes on. Its first line holds the plan and the state of
the source files; a run with another plan or a changed source does not go on from it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from fqconsole.errors import MALFORMED, OperatorError, UsageError
from quantizer.disk import sync_folder, write_failure
from quantizer.plan import Plan

JOURNAL = "journal.jsonl"
JOURNAL_VERSION = 1


class WrittenShard(msgspec.Struct, frozen=True):
    """A finished safetensors file."""

    file: str
    bytes: int  # of the whole file
    sha256: str


class SourceState(msgspec.Struct, frozen=True):
    """A source file as it was when the run began."""

    file: str
    size: int
    mtime_ns: int


class JournalHead(msgspec.Struct, frozen=True, tag="head"):
    """What has to be the same for a run to go on."""

    plan: Plan
    source: tuple[SourceState, ...]
    program: str  # fqconsole's version
    version: int = JOURNAL_VERSION


class MatrixSums(msgspec.Struct, frozen=True):
    """The share of one matrix that lies in a part."""

    matrix: int  # index in the plan
    pieces: int
    squared_error: float  # ‖W−Ŵ‖²
    squared_norm: float  # ‖W‖²
    seconds: float


class PartRecord(msgspec.Struct, frozen=True, tag="part"):
    """One finished part."""

    shard: WrittenShard
    sums: tuple[MatrixSums, ...]
    source_sha256: str | None  # of the source file, once its last part is done


_decoder = msgspec.json.Decoder(JournalHead | PartRecord)
_encoder = msgspec.json.Encoder()


class Journal:
    """The journal of one partial folder, which the caller has locked."""

    def __init__(self, folder: Path, head: JournalHead) -> None:
        """Go on with the folder's journal, or begin one.

        Raises UsageError when the journal there belongs to another plan, program or state of the source.
        """
        self._path = folder / JOURNAL
        found, records, whole = read_journal(folder)
        if found is not None:
            require_same(found, head, folder)
        self.finished: dict[str, PartRecord] = {record.shard.file: record for record in records}
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
            os.truncate(self._fd, whole)
            os.lseek(self._fd, 0, os.SEEK_END)
            if found is None:
                self._append(head)
                sync_folder(folder)
        except OSError as failure:
            raise write_failure(failure, self._path) from failure

    def add(self, record: PartRecord) -> None:
        """A part is finished and on disk."""
        try:
            self._append(record)
        except OSError as failure:
            raise write_failure(failure, self._path) from failure
        self.finished[record.shard.file] = record

    def forget(self, file: str) -> None:
        """A finished part turned out to be damaged: it will be made again, and the later line counts."""
        self.finished.pop(file, None)

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, line: JournalHead | PartRecord) -> None:
        data = _encoder.encode(line) + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]
        os.fsync(self._fd)


def read_journal(folder: Path) -> tuple[JournalHead | None, list[PartRecord], int]:
    """Head, finished parts, and the bytes of whole lines; a line torn by a kill is left out."""
    try:
        data = (folder / JOURNAL).read_bytes()
    except OSError:
        return None, [], 0
    head: JournalHead | None = None
    records: list[PartRecord] = []
    whole = 0
    for line in data.splitlines(keepends=True):
        try:
            entry = _decoder.decode(line)
        except MALFORMED:
            break
        if not line.endswith(b"\n") or (head is None) != isinstance(entry, JournalHead):
            break
        if isinstance(entry, JournalHead):
            head = entry
        else:
            records.append(entry)
        whole += len(line)
    return head, records, whole


def require_same(found: JournalHead, head: JournalHead, folder: Path) -> None:
    """Raises UsageError saying what differs between the unfinished run and this one."""
    next_step = f"Delete {folder} and start again, or choose another folder with --out."
    if found.version != head.version or found.program != head.program:
        raise UsageError(f"{folder} was begun by another version of fqconsole ({found.program}).", next_step)
    if found.plan != head.plan:
        raise UsageError(f"{folder} holds an unfinished run with another plan.", next_step)
    now = {state.file: state for state in head.source}
    for state in found.source:
        if now.get(state.file) != state:
            raise UsageError(f"{state.file} of {head.plan.model} changed since the run began.", next_step)


def source_states(folder: Path, files: Iterable[str]) -> tuple[SourceState, ...]:
    """Size and time of change of the source files. Raises OperatorError when one is missing."""
    states = []
    for file in sorted(files):
        try:
            found = (folder / file).stat()
        except OSError as failure:
            raise OperatorError(
                f"{folder / file} can't be read: {failure.strerror}.", "Download or copy the model again."
            ) from failure
        states.append(SourceState(file, found.st_size, found.st_mtime_ns))
    return tuple(states)
