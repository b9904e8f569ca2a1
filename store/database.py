"""The one door to the SQLite file: opening it, transactions, and every failure of it as a sentence."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlite_utils

from store.errors import StoreError
from store.migrations import migrations

BUSY_SECONDS = 10.0  # how long one program waits for another that writes
Bindings = Sequence[Any] | Mapping[str, Any]


class Database:
    """A connection with a lock of its own, so that threads of one program may share it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> "Database":
        """Open or make the file and bring its schema up to date. Raises StoreError."""
        with _told(path):
            _make_file(path)
            connection = sqlite3.connect(
                path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
            )
        try:
            with _told(path):
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA foreign_keys = ON")
                _bring_up_to_date(path, connection, busy_seconds)
                # With WAL, NORMAL loses at most the last commits at a power cut, never the file.
                connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return cls(path, connection)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def rows(self, sql: str, bindings: Bindings = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._lock, _told(self.path):
            return self._connection.execute(sql, bindings).fetchall()

    def row(self, sql: str, bindings: Bindings = ()) -> sqlite3.Row | None:
        """The first row of a query, if there is one."""
        with self._lock, _told(self.path):
            found: sqlite3.Row | None = self._connection.execute(sql, bindings).fetchone()
            return found

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; one inside another is part of it. What is written is kept whole or not at all.

        It takes the write lock at its start: a transaction that reads first and writes later would fail at
        once, without waiting, when another program wrote between.
        """
        with self._lock, _told(self.path):
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.rollback()
                raise
            try:
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    def write_all(self, sql: str, rows: Iterable[Bindings]) -> None:
        """One statement for each of `rows`, in one transaction."""
        with self.writing() as connection:
            connection.executemany(sql, rows)

    def size(self) -> int:
        """Bytes of the database, what is free in it included."""
        pages, page = (self.row(f"PRAGMA {name}") for name in ("page_count", "page_size"))
        return int(pages[0]) * int(page[0]) if pages and page else 0

    def give_back(self) -> None:
        """Return free pages to the disk; while another program uses the file they stay for later rows."""
        with self._lock, suppress(sqlite3.OperationalError):
            self._connection.execute("VACUUM")

    def copy_to(self, path: Path) -> None:
        """A whole copy of the file, also while others write. Raises StoreError where `path` exists."""
        if path.exists():
            raise StoreError(f"{path} exists already.", "Name a new file.")
        with self._lock, _told(path):
            _make_file(path)
            copy = sqlite3.connect(path)
            try:
                self._connection.backup(copy)
            finally:
                copy.close()


def _make_file(path: Path) -> None:
    """An empty file that only its owner reads, in a folder that only its owner enters; both may exist."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a runs file.", "Name a file.")
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(f"The runs file {path} can't be read and written.", "Change its permissions.")


def _bring_up_to_date(path: Path, connection: sqlite3.Connection, busy_seconds: float) -> None:
    # Plug-ins of the operator's sqlite-utils command have no business in here.
    database: Any = sqlite_utils.Database(connection, execute_plugins=False)
    _refuse_strangers(path, connection, database)
    _enable_wal(database, busy_seconds)
    if not migrations.pending(database):
        return
    # One program at a time, and it looks again: another may have done it while this one waited.
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(database)
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")


def _refuse_strangers(path: Path, connection: sqlite3.Connection, database: Any) -> None:
    # Tables before migrations: another program may be making both right now, in one transaction.
    strangers = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN (?, 'sqlite_sequence')",
        (migrations.migrations_table,),
    ).fetchall()
    known = {migration.name for migration in migrations._migrations}  # there is no public list of them
    applied = {migration.name for migration in migrations.applied(database)}
    if applied - known:
        raise StoreError(
            f"The runs file {path} was written by a newer fqconsole (it has {max(applied - known)}).",
            "Update fqconsole, or set FQCONSOLE_HOME to another folder.",
        )
    if strangers and not applied:
        raise StoreError(f"{path} is a database of another program, not a runs file.", "Name another file.")


def _enable_wal(database: Any, busy_seconds: float) -> None:
    """Readers and a writer at once. The switch itself does not wait for a lock, so it is tried again here."""
    give_up = time.monotonic() + busy_seconds
    while True:
        try:
            database.enable_wal()
        except sqlite3.OperationalError as error:
            if _name(error) not in ("SQLITE_BUSY", "SQLITE_LOCKED") or time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        else:
            return


def _name(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", "") or "")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Failures of SQLite and of the file system as StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _sentence(path, error) from error
    except OSError as error:
        raise StoreError(
            f"The runs file {path} can't be opened: {error.strerror or error}.",
            "Check the folder, or set FQCONSOLE_HOME to another one.",
        ) from error


def _sentence(path: Path, error: sqlite3.Error) -> StoreError:
    name = _name(error)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(
            f"The runs file {path} is held by another program.", "End that program, or try again in a moment."
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return StoreError(
            f"The runs file {path} can't be written.",
            "Change its permissions and those of its folder, or set FQCONSOLE_HOME to another folder.",
        )
    if name.startswith("SQLITE_FULL"):
        return StoreError(f"The disk that holds the runs file {path} is full.", "Make room on it.")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")) or "fts5" in str(error):
        return StoreError(
            f"The runs file {path} is damaged or is no database.",
            f"Move it away; `sqlite3 {path.name} .recover` may save what is in it.",
        )
    if name.startswith("SQLITE_IOERR"):
        return StoreError(f"The disk that holds the runs file {path} gave an error.", "Check the disk.")
    return StoreError(f"The runs file {path} refused a step: {error}.", "Please report this.")
