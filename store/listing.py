"""The list of runs: one query for a page of rows, whatever is filtered and sorted by."""

import json
import sqlite3
from typing import Any

from store.columns import COLUMNS, order_by
from store.database import Database
from store.filters import parse
from store.rows import RunRow
from store.run_ids import to_word

_PLAIN = ("kind", "status", "started", "ended", "model", "revision", "path", "bits", "group_size",
          "granularity", "device", "parent", "baseline", "note", "tags")  # fmt: skip
_COMPUTED = ("perplexity", "kl_divergence", "decode_tok_s", "ttft_ms", "bits_per_weight", "bytes",
             "peak_bytes", "predicted_bytes")  # fmt: skip


def _select() -> str:
    sql = {column.name: column.sql for column in COLUMNS}
    plain = ", ".join(f"r.{name}" for name in _PLAIN)
    computed = ", ".join(f"{sql[name]} AS {name}" for name in _COMPUTED)
    return f"SELECT r.id AS id, {plain}, {computed} FROM runs r"


SELECT = _select()


def list_runs(database: Database, filter: str, *, limit: int, offset: int, sort: str) -> list[RunRow]:
    """A page of runs. Raises FilterError for a filter or a sort order that can't be read."""
    return list_page(database, filter, limit=limit, offset=offset, sort=sort)[0]


def list_page(
    database: Database, filter: str, *, limit: int, offset: int, sort: str
) -> tuple[list[RunRow], int]:
    """A page of runs and how many match in all; the filter is looked through once for both."""
    where, order = parse(filter), order_by(sort)
    # The page is cut before the measured numbers are looked up: those cost a few index searches a row.
    found = database.rows(f"SELECT r.id AS id FROM runs r WHERE {where.sql} ORDER BY {order}", where.bindings)
    return find_rows(database, [row["id"] for row in found[offset : offset + limit]]), len(found)


def count_runs(database: Database, filter: str) -> int:
    """How many runs match."""
    where = parse(filter)
    row = database.row(f"SELECT count(*) FROM runs r WHERE {where.sql}", where.bindings)
    return int(row[0]) if row else 0


def find_rows(database: Database, numbers: list[int]) -> list[RunRow]:
    """The rows of these runs, in this order; those that are not there are left out."""
    # One bound text: a statement takes only so many values.
    chosen = database.rows(f"{SELECT} WHERE r.id IN (SELECT value FROM json_each(?))", (json.dumps(numbers),))
    found = {row["id"]: run_row(row) for row in chosen}
    return [found[number] for number in numbers if number in found]


def run_row(row: sqlite3.Row) -> RunRow:
    values: dict[str, Any] = {name: row[name] for name in (*_PLAIN, *_COMPUTED)}
    group = values.pop("group_size")
    return RunRow(
        run_id=to_word(row["id"]),
        group=None if group is None else "channel" if group == 0 else str(group),
        parent=None if values["parent"] is None else to_word(values.pop("parent")),
        baseline=bool(values.pop("baseline")),
        tags=tuple(values.pop("tags").split()),
        bytes=whole(values.pop("bytes")),
        **{name: value for name, value in values.items() if name != "parent"},
    )


def whole(value: float | None) -> int | None:
    """A metric is stored as a real number; bytes are whole."""
    return None if value is None else int(value)
