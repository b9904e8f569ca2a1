"""What is let go so that the runs file does not fill a disk: readings of GPUs and, where asked, texts."""

import sqlite3
import time

import msgspec

from store.database import Database
from store.errors import FilterError
from store.filters import age_seconds
from store.texts import drop_unused

MOST_KEPT = 600  # readings of each GPU that an ended run keeps: more than any screen or page draws

# Runs that somebody cared for keep everything.
_OLD = """status <> 'running' AND started < ? AND baseline = 0 AND note = '' AND tags = ''"""


class Pruned(msgspec.Struct, frozen=True):
    """What pruning takes, or would take: rows of readings, runs that lose their texts, bytes of the file."""

    samples: int
    texts: int
    bytes_before: int
    bytes_after: int


def thin_samples(connection: sqlite3.Connection, number: int) -> None:
    """Keep at most MOST_KEPT readings of each GPU of a run, evenly spread over its time."""
    connection.execute(
        """DELETE FROM gpu_samples WHERE run_id = :run AND (gpu, t) IN (
               SELECT gpu, t FROM (
                   SELECT gpu, t, row_number() OVER (PARTITION BY gpu ORDER BY t) - 1 AS place,
                       count(*) OVER (PARTITION BY gpu) AS many
                   FROM gpu_samples WHERE run_id = :run
               ) WHERE place % ((many + :most - 1) / :most) <> 0)""",
        {"run": number, "most": MOST_KEPT},
    )


def prune(
    database: Database, keep_samples: str | None, keep_texts: str | None, *, now: float | None, dry: bool
) -> Pruned:
    """Take readings and texts of runs that are older than these ages ("30d"); None keeps all. Runs with a
    note, a tag or the baseline mark keep everything. `dry` only counts. Raises FilterError for no age.
    """
    moment = time.time() if now is None else now
    before = database.size()
    samples_before, texts_before = (_moment(age, moment) for age in (keep_samples, keep_texts))
    counted = Pruned(
        samples=_count(database, f"SELECT count(*) FROM gpu_samples WHERE {_IN_OLD}", samples_before),
        texts=_count(
            database,
            f"""SELECT count(*) FROM generations WHERE {_IN_OLD}
                AND coalesce(prompt_hash, rendered_hash, output_hash) IS NOT NULL""",
            texts_before,
        ),
        bytes_before=before,
        bytes_after=before,
    )
    if dry or not (counted.samples or counted.texts):
        return counted
    with database.writing() as connection:
        if samples_before is not None:
            connection.execute(f"DELETE FROM gpu_samples WHERE {_IN_OLD}", (samples_before,))
        if texts_before is not None:
            connection.execute(
                f"""UPDATE generations SET prompt_hash = NULL, rendered_hash = NULL, output_hash = NULL
                    WHERE {_IN_OLD}""",
                (texts_before,),
            )
            drop_unused(connection)
    database.give_back()
    return msgspec.structs.replace(counted, bytes_after=database.size())


_IN_OLD = f"run_id IN (SELECT id FROM runs WHERE {_OLD})"


def _moment(age: str | None, now: float) -> float | None:
    if age is None:
        return None
    seconds = age_seconds(age)
    if seconds is None:
        raise FilterError(f"“{age}” is no age.", "Write 12h, 30d or 8w.")
    return now - seconds


def _count(database: Database, sql: str, before: float | None) -> int:
    row = database.row(sql, (before,)) if before is not None else None
    return int(row[0]) if row else 0
