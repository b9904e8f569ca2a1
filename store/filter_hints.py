"""What may be typed next in a filter: columns, then values that are in this record."""

import re

import msgspec

from store.columns import COLUMNS, Column, find_column
from store.database import Database
from store.errors import FilterError
from store.wording import show, significant

MOST_OPTIONS = 12
LONGEST_OPTION = 60  # characters; a longer value is typed in part, which `:` finds too
FIRST_COLUMNS = ("bits", "model", "kind", "status", "perplexity", "decode_tok_s", "bytes", "age", "tag")

_TERM = re.compile(r'-?(?:(?P<key>[A-Za-z_]\w*)(?P<op><=|>=|!=|<|>|=|:))?(?P<value>"?[^"]*)')
# The operator that a column is mostly used with, and what follows a value that is mostly asked for.
_USUAL = {"baseline": ":", "text": ":", "words": ":", "bits": "<=", "group": ":", "id": ":"}
_VALUES = {
    "bits": ("3", "4", "8", "16"),
    "bytes": ("1GiB", "4GiB", "8GiB", "16GiB", "64GiB"),
    "age": ("12h", "1d", "7d", "4w"),
    "time": ("today", "yesterday"),
}


class Hint(msgspec.Struct, frozen=True):
    """`options` each complete the filter when they are written behind `before`, which without any is all that
    was typed; `about` says what is asked.
    """

    before: str
    options: tuple[str, ...]
    about: str
    settled: str = ""  # the filter without the term that is being typed
    columns: bool = False  # the options are columns: the last word is perhaps only the beginning of a term

    def filled(self, place: int = 0) -> str:
        """The filter with one of the options; as it was typed where there is none."""
        return self.before + self.options[place] if place < len(self.options) else self.before


def hint(database: Database, text: str) -> Hint:
    """What may follow at the end of `text`, a filter that is being typed. Never raises FilterError."""
    start = _last_term(text)
    match = _TERM.fullmatch(text, start)
    if match is None:  # at the end of a quoted value
        return Hint(text, (), "")
    key, op, value = match["key"], match["op"], match["value"]
    if key is None:
        columns, about = _columns(value), "" if value else "a column, or any words"
        return Hint(
            text[: match.start("value")] if columns else text, columns, about, text[:start], bool(columns)
        )
    try:
        column = find_column(key)
    except FilterError as error:
        return Hint(text, (), str(error))
    before, typed = text[: match.start("value")], value
    if "," in value and not value.startswith('"'):
        head, _, typed = value.rpartition(",")
        before += head + ","
    options, about = _values(database, column, op, typed)
    return Hint(before if options else text, options, about, text[:start])


def _last_term(text: str) -> int:
    """Where the term that is being typed begins: behind the last blank that stands in no quotes."""
    start, quoted = 0, False
    for place, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif letter.isspace() and not quoted:
            start = place + 1
    return start


def _columns(typed: str) -> tuple[str, ...]:
    """Columns whose name, or a short name, begins so."""
    if typed.startswith('"'):
        return ()
    by_name = {column.name: column for column in COLUMNS}
    if not typed:
        return tuple(_with_operator(by_name[name], name) for name in FIRST_COLUMNS)
    word = typed.lower()
    found = []
    for column in COLUMNS:
        name = next((name for name in (column.name, *column.also) if name.startswith(word)), None)
        if name is not None:
            found.append(_with_operator(column, name))
    return tuple(found[:MOST_OPTIONS])


def _with_operator(column: Column, name: str) -> str:
    usual = ">" if column.name.endswith("tok_s") else "<"
    return name + _USUAL.get(column.name, _USUAL.get(column.kind, usual))


def _values(database: Database, column: Column, op: str, typed: str) -> tuple[tuple[str, ...], str]:
    if column.kind in ("text", "words"):
        return _texts(database, column, typed), column.name
    if column.kind in ("number", "bytes"):
        about = _range(database, column)
    elif column.kind == "age":
        about = "since it began: m, h, d, w"
    elif column.kind == "time":
        about = "a day, or a minute: 2026-01-31T16:40"
    else:
        about = column.name
    known = _VALUES.get(column.kind, ())
    if column.kind == "group":
        rows = database.rows("SELECT DISTINCT group_size AS g FROM runs WHERE group_size > 0 ORDER BY g DESC")
        known = (*(str(row["g"]) for row in rows), *(["channel"] if op in (":", "=", "!=") else []))
    return tuple(value for value in known if value.startswith(typed.lower()))[:MOST_OPTIONS], about


def _texts(database: Database, column: Column, typed: str) -> tuple[str, ...]:
    """Values in the record that contain what was typed, the most frequent first."""
    words = column.kind == "words"
    rows = database.rows(
        f"""SELECT {column.sql} AS value, count(*) AS many FROM runs r
            WHERE {column.sql} IS NOT NULL AND {column.sql} <> '' GROUP BY 1 ORDER BY many DESC, value"""
    )
    found: dict[str, None] = {}
    wanted = typed.lstrip('"').lower()
    for row in rows:
        for value in row["value"].split() if words else (row["value"],):
            if wanted in value.lower() and '"' not in value and len(value) <= LONGEST_OPTION:
                found.setdefault(f'"{value}"' if re.search(r"[\s,]", value) else value)
        if len(found) >= MOST_OPTIONS:
            break
    return tuple(found)[:MOST_OPTIONS]


def _range(database: Database, column: Column) -> str:
    """`perplexity: 8.42 to 11.0 here`."""
    row = database.row(f"SELECT min(v) AS low, max(v) AS high FROM (SELECT {column.sql} AS v FROM runs r)")
    if row is None or row["low"] is None:
        return f"{column.name}: not known of any run"
    low, high = (
        show(row[end], "bytes") if column.kind == "bytes" else significant(row[end])
        for end in ("low", "high")
    )
    return f"{column.name}: {low} to {high}"
