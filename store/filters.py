"""The filter language of the runs list: `bits<=4 model:qwen status:done,failed -kind:download "two words"`.

Terms are joined by AND. A term is a column, an operator and a value, or free text, which is looked for in
the model, note, tags and path, and in prompts and answers. A leading minus turns a term round. Every value
is bound, never written into the SQL.
"""

import math
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from store.columns import Column, find_column
from store.errors import FilterError

LONGEST_FILTER = 1000  # characters
MOST_TERMS = 40
SHORTEST_BEGINNING = 3  # letters of a word from which on words that begin so are found
FAR = 1e15  # beyond every number that is stored; SQLite's integers end at 9.2e18

_TERM = re.compile(
    r'(?P<minus>-?)(?:(?P<key>[A-Za-z_]\w*)(?P<op><=|>=|!=|<|>|=|:))?(?P<value>"[^"]*"|[^\s"]*)'
)
_OPERATORS = {":": "=", "=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_SIZE = re.compile(r"([\d.]+)\s*(?:([kmgt])i?b?|b)?", re.IGNORECASE)
_AGE = re.compile(r"([\d.]+)(m|h|d|w)", re.IGNORECASE)
_NO_TEXT = re.compile(
    "[\\x00-\\x08\\x0e-\\x1b\\ud800-\\udfff]"
)  # controls that are no space, half characters
_RUN_ID = re.compile(r"r([0-9]{1,9})", re.IGNORECASE)
_AGE_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


class Where(msgspec.Struct, frozen=True):
    """A condition on the row `r` of runs and the values bound to it, in order."""

    sql: str
    bindings: tuple[Any, ...]


def parse(text: str, *, now: float | None = None) -> Where:
    """The condition that `text` stands for; an empty filter is always true. Raises FilterError.

    `now` (seconds since the epoch) is what ages count from.
    """
    _check(text)
    conditions: list[str] = []
    bindings: list[Any] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        match = _TERM.match(text, position)
        if match is None or match.end() == position:
            raise FilterError(f"“{text[position:]}” can't be read.", "See docs/runs.md for what a filter is.")
        position = match.end()
        if position < len(text) and not text[position].isspace():
            raise FilterError(
                f"“{match[0]}{text[position]}” can't be read.", "Put a space between two terms of the filter."
            )
        try:
            where = _term(match, time.time() if now is None else now)
        except FilterError as error:
            raise _placed(error, text, match) from None
        # A value that is not known makes a condition NULL; its negation must not be NULL too.
        conditions.append(f"NOT coalesce(({where.sql}), 0)" if match["minus"] else f"({where.sql})")
        bindings.extend(where.bindings)
        if len(conditions) > MOST_TERMS:
            raise FilterError(f"The filter has more than {MOST_TERMS} terms.", "Use fewer terms.")
    return Where(" AND ".join(conditions) or "1", tuple(bindings))


def _placed(error: FilterError, text: str, match: re.Match[str]) -> FilterError:
    """The error with the place of its term, told where there are several."""
    if match[0] == text.strip():
        return error
    return FilterError(f"At character {match.start() + 1}, in “{match[0]}”: {error.what}", error.next_step)


def _check(text: str) -> None:
    if len(text) > LONGEST_FILTER:
        raise FilterError(f"The filter is longer than {LONGEST_FILTER} characters.", "Use fewer terms.")
    if text.count('"') % 2:
        raise FilterError("A quote in the filter is not closed.", 'Write "two words" with both quotes.')
    if _NO_TEXT.search(text):
        raise FilterError("The filter holds characters that are no text.", "Type it again.")


def _term(match: re.Match[str], now: float) -> Where:
    quoted = match["value"].startswith('"')
    value = match["value"].strip('"')
    if match["key"] is None:
        if not value:
            raise FilterError("A term of the filter is empty.", "Write a word, or column:value.")
        return _free_text(value)
    column, op = find_column(match["key"]), match["op"]
    # A comma stands between values of which one must hold; inside quotes it is just a comma.
    several = not quoted and op in (":", "=", "!=") and column.kind != "time"
    values = [part for part in value.split(",") if part] if several else [value]
    if not any(values):
        raise FilterError(f"{match['key']}{op} has no value.", f"Write {match['key']}{op}something.")
    if len(values) == 1:
        return _CONDITIONS[column.kind](column, op, values[0], now)
    found = [_CONDITIONS[column.kind](column, "=" if op == "!=" else op, part, now) for part in values]
    either = " OR ".join(f"({where.sql})" for where in found)
    bindings = tuple(value for where in found for value in where.bindings)
    return Where(f"NOT coalesce(({either}), 0)" if op == "!=" else either, bindings)


def _free_text(word: str) -> Where:
    columns = ("r.model", "r.note", "r.tags", "coalesce(r.path, '')")
    likes = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns)
    # As a quoted phrase every letter is plain text to the search; the star finds words that begin so. One or
    # two letters begin half of all words: they would find everything, slowly.
    phrase = '"' + word.replace('"', '""') + ('"*' if len(word) >= SHORTEST_BEGINNING else '"')
    # Materialized, the texts are searched once for prompts and answers together.
    said = """r.id IN (WITH found AS MATERIALIZED (
            SELECT t.hash AS hash FROM texts_fts f JOIN texts t ON t.id = f.rowid WHERE f.texts_fts MATCH ?)
        SELECT g.run_id FROM generations g WHERE g.prompt_hash IN (SELECT hash FROM found)
            OR g.output_hash IN (SELECT hash FROM found))"""
    number = _RUN_ID.fullmatch(word)
    same = Where(" OR r.id = ?", (int(number[1]),)) if number else Where("", ())
    bindings = (_contains(word),) * len(columns) + (phrase,) + same.bindings
    return Where(f"{likes} OR {said}{same.sql}", bindings)


def _contains(word: str) -> str:
    return "%" + re.sub(r"([\\%_])", r"\\\1", word) + "%"


def _text(column: Column, op: str, value: str, _now: float) -> Where:
    known = f"coalesce({column.sql}, '')"
    if op == ":":
        return Where(f"{known} LIKE ? ESCAPE '\\'", (_contains(value),))
    if op in ("=", "!="):
        return Where(f"{known} {_OPERATORS[op]} ? COLLATE NOCASE", (value,))
    raise FilterError(f"{column.name}{op} makes no sense for text.", f"Write {column.name}:{value}.")


def _words(column: Column, op: str, value: str, _now: float) -> Where:
    if op not in (":", "=", "!="):
        raise FilterError(f"{column.name}{op} makes no sense for tags.", f"Write {column.name}:{value}.")
    sql = f"instr(' ' || {column.sql} || ' ', ' ' || ? || ' ') > 0"
    return Where(f"NOT ({sql})" if op == "!=" else sql, (value.lower(),))


def _compared(column: Column, op: str, number: float) -> Where:
    if not -FAR < number < FAR:
        raise FilterError(f"{number:g} is out of range for {column.name}.", "Use a number that can occur.")
    return Where(f"{column.sql} {_OPERATORS[op]} ?", (number,))


def _number(column: Column, op: str, value: str, _now: float) -> Where:
    return _compared(column, op, _float(column, value))


def _float(column: Column, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if math.isnan(number) or "_" in value:
        raise FilterError(
            f"“{value}” is no number for {column.name}.", f"Write {column.name}<=4, for example."
        )
    return number


def _bits(column: Column, op: str, value: str, now: float) -> Where:
    word = value.lower()
    for prefix in ("int", "fp", "bf", "float", "bfloat"):
        if word.startswith(prefix) and word[len(prefix) :].isdigit():
            word = word[len(prefix) :]
    return _number(column, op, word, now)


def _group(column: Column, op: str, value: str, now: float) -> Where:
    if value.lower() == "channel":
        # A channel is the coarsest group there is, stored as 0.
        if op not in (":", "=", "!="):
            raise FilterError(f"{column.name}{op}channel makes no sense.", "Write group:channel.")
        return Where(f"{column.sql} {_OPERATORS[op]} 0", ())
    where = _number(column, op, value, now)
    return Where(f"{column.sql} > 0 AND {where.sql}", where.bindings)


def _bytes(column: Column, op: str, value: str, _now: float) -> Where:
    match = _SIZE.fullmatch(value)
    if match is None:
        raise FilterError(
            f"“{value}” is no size for {column.name}.", f"Write {column.name}<8GiB, for example."
        )
    power = "kmgt".index(match[2].lower()) + 1 if match[2] else 0
    return _compared(column, op, _float(column, match[1]) * 1024.0**power)


def _run(column: Column, op: str, value: str, now: float) -> Where:
    return _number(column, op, value.lower().removeprefix("r"), now)


def age_seconds(value: str) -> float | None:
    """`12h`, `7d`, `2w` in seconds; None for what is no age."""
    match = _AGE.fullmatch(value)
    try:
        return float(match[1]) * _AGE_SECONDS[match[2].lower()] if match else None
    except ValueError:  # 1.2.3d
        return None


def _age(column: Column, op: str, value: str, now: float) -> Where:
    seconds = age_seconds(value)
    if seconds is None:
        raise FilterError(f"“{value}” is no age.", "Write age<12h, age<7d or age<2w.")
    since = now - seconds
    turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op)
    if turned is None:
        raise FilterError(f"age{op} makes no sense.", "Write age<7d or age>7d.")
    return _compared(column, turned, since)


def _time(column: Column, op: str, value: str, now: float) -> Where:
    """A day stands for all of it: `started:2026-11-22` is from midnight to midnight, in local time."""
    try:
        begin, end = _span(value, now)
    except (ValueError, OverflowError, OSError):
        raise FilterError(
            f"“{value}” is no date.", "Write started>=2026-11-22, 2026-11-22T16:40, today or yesterday."
        ) from None
    if op in (":", "="):
        return Where(f"{column.sql} >= ? AND {column.sql} < ?", (begin, end))
    if op == "!=":
        return Where(f"NOT ({column.sql} >= ? AND {column.sql} < ?)", (begin, end))
    bound = {"<": ("<", begin), "<=": ("<", end), ">": (">=", end), ">=": (">=", begin)}[op]
    return Where(f"{column.sql} {bound[0]} ?", (bound[1],))


def _span(value: str, now: float) -> tuple[float, float]:
    word = value.lower()
    if word in ("today", "yesterday"):
        day = datetime.fromtimestamp(now).astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        begin = day - timedelta(days=word == "yesterday")
        return begin.timestamp(), (begin + timedelta(days=1)).timestamp()
    moment = datetime.fromisoformat(value)
    length = timedelta(days=1) if len(value) <= len("2026-11-22") else timedelta(minutes=1)
    return moment.timestamp(), (moment + length).timestamp()


# One way to compare for each kind of column.
_CONDITIONS: dict[str, Callable[[Column, str, str, float], Where]] = {
    "text": _text,
    "words": _words,
    "number": _number,
    "bits": _bits,
    "group": _group,
    "bytes": _bytes,
    "time": _time,
    "age": _age,
    "id": _run,
}
