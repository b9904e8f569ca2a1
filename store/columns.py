"""The columns of the list of runs: their names for filters and sorting, their kind, and the SQL of each."""

from difflib import get_close_matches
from typing import Literal

import msgspec

from store.errors import FilterError

Kind = Literal["text", "words", "number", "bits", "group", "bytes", "time", "age", "id"]


class Column(msgspec.Struct, frozen=True):
    """`sql` is an expression on the row `r` of runs."""

    name: str
    kind: Kind
    sql: str
    also: tuple[str, ...] = ()


def _metric(name: str) -> str:
    """The run's own number, or for a quantize run the one last measured on its checkpoint."""
    return f"""coalesce(
        (SELECT value FROM metrics WHERE run_id = r.id AND name = '{name}' AND step = -1),
        CASE WHEN r.kind = 'quantize' THEN (
            SELECT m.value FROM runs c JOIN metrics m ON m.run_id = c.id AND m.name = '{name}' AND m.step = -1
            WHERE c.parent = r.id ORDER BY c.id DESC LIMIT 1) END)"""


def _memory(which: str) -> str:
    """The total on a GPU where there is one, else on the host."""
    return f"""(SELECT {which} FROM memory WHERE run_id = r.id AND term = 'total' AND {which} IS NOT NULL
        ORDER BY gpu = -1, {which} DESC LIMIT 1)"""


COLUMNS = (
    Column("id", "id", "r.id", ("run",)),
    Column("kind", "text", "r.kind"),
    Column("status", "text", "r.status"),
    Column("started", "time", "r.started", ("when", "date")),
    Column("age", "age", "r.started"),
    Column("model", "text", "r.model"),
    Column("revision", "text", "r.revision"),
    Column("path", "text", "r.path", ("checkpoint",)),
    Column("device", "text", "r.device", ("gpu",)),
    Column("granularity", "text", "r.granularity"),
    Column("note", "text", "r.note"),
    Column("tag", "words", "r.tags", ("tags",)),
    Column("parent", "id", "r.parent"),
    Column("baseline", "number", "r.baseline"),
    Column("bits", "bits", "r.bits"),
    Column("group", "group", "r.group_size", ("group_size",)),
    Column("seconds", "number", "(r.ended - r.started)", ("duration",)),
    Column("perplexity", "number", _metric("perplexity"), ("ppl",)),
    Column("kl_divergence", "number", _metric("kl_divergence"), ("kl",)),
    Column("top1_agreement", "number", _metric("top1_agreement"), ("top1",)),
    Column("decode_tok_s", "number", _metric("decode_tok_s"), ("tok_s", "speed")),
    Column("prefill_tok_s", "number", _metric("prefill_tok_s"), ("prefill",)),
    Column("ttft_ms", "number", _metric("ttft_ms"), ("ttft",)),
    Column("bits_per_weight", "number", _metric("bits_per_weight"), ("bpw",)),
    Column("bytes", "bytes", _metric("bytes"), ("size",)),
    Column("peak_bytes", "bytes", _memory("measured"), ("peak",)),
    Column("predicted_bytes", "bytes", _memory("predicted"), ("predicted",)),
)

_BY_NAME = {name: column for column in COLUMNS for name in (column.name, *column.also)}


def find_column(name: str) -> Column:
    """The column with this name or short name. Raises FilterError naming the nearest one."""
    column = _BY_NAME.get(name.lower())
    if column is None:
        near = get_close_matches(name.lower(), _BY_NAME, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(c.name for c in COLUMNS)}."
        raise FilterError(f"There is no column “{name}”.", f"{hint} Text to search for goes in quotes.")
    return column


def order_by(sort: str) -> str:
    """The ORDER BY of "column", "column asc" or "column desc"; what is not known comes last.

    Raises FilterError for anything else.
    """
    words = sort.split()
    direction = words[1].upper() if len(words) == 2 else "ASC"
    if not 1 <= len(words) <= 2 or direction not in ("ASC", "DESC"):
        raise FilterError(f"“{sort}” is no sort order.", "Write a column, then asc or desc: ppl asc.")
    column = find_column(words[0])
    if column.kind == "age":
        direction = "DESC" if direction == "ASC" else "ASC"
    if column.sql == "r.started":
        return f"r.started {direction}, r.id {direction}"  # the index has this order: no sorting at all
    letters = " COLLATE NOCASE" if column.kind == "text" else ""
    return f"({column.sql}) IS NULL, {column.sql}{letters} {direction}, r.id DESC"
