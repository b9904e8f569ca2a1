"""The list of runs as rows of a table: which columns fit, and what stands in them."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fqconsole.app import formatting
from fqconsole.app.session_view import milliseconds, speed
from fqconsole.app.visible_text import one_line
from fqconsole.app.widgets.record_table import Cell, ColumnSpec, Value

if TYPE_CHECKING:
    from store import RunRow

STATUS_STYLES = {"failed": "bad", "interrupted": "tight", "cancelled": "quiet", "running": "ok"}
MOST_PLOTTED = 40
MARKED, BASELINE = "●", "◆"  # a marked baseline is named in the panel below


class Order(NamedTuple):
    word: str
    sort: str  # as the store takes it


ORDERS = (
    Order("when ↓", "started desc"),
    Order("perplexity ↑", "perplexity asc"),
    Order("tok/s ↓", "decode_tok_s desc"),
    Order("peak ↑", "peak_bytes asc"),
    Order("size ↑", "bytes asc"),
    Order("model ↑", "model asc"),
)

_NARROW = (
    ColumnSpec("run", " run", 7),
    ColumnSpec("when", "when", 6, right=True),
    ColumnSpec("kind", " kind", 9),
    ColumnSpec("model", " model", 12, flexible=True),
    ColumnSpec("bits", "bits", 7, right=True),
    ColumnSpec("perplexity", "ppl", 6, right=True),
    ColumnSpec("speed", "tok/s", 7, right=True),
    ColumnSpec("peak", "GiB", 6, right=True),
    ColumnSpec("status", " status", 12),
)
_GROUP = ColumnSpec("group", "group", 8, right=True)
_TTFT = ColumnSpec("ttft", "TTFT", 8, right=True)
_ESTIMATE = ColumnSpec("estimate", "vs plan", 9, right=True)
_KL = ColumnSpec("kl", "KL", 8, right=True)
_WIDTH = ColumnSpec("bits_per_weight", "bits/w", 8, right=True)
_SIZE = ColumnSpec("size", "size", 10, right=True)
_WIDE_MODEL = ColumnSpec("model", " model", 28)
_NOTE = ColumnSpec("note", "  note and tags", 20, flexible=True)
NORMAL, WIDE = 100, 170  # cells of the screen from which more columns fit


def columns(width: int) -> tuple[ColumnSpec, ...]:
    """The columns for a screen of `width` cells."""
    run, when, kind, model, bits, perplexity, tok_s, peak, status = _NARROW
    if width < NORMAL:
        return _NARROW
    if width < WIDE:
        return (run, when, kind, model, bits, _GROUP, perplexity, tok_s, _TTFT, peak, status)
    return (
        run, when, kind, _WIDE_MODEL, bits, _GROUP, _WIDTH, _SIZE, perplexity, _KL, tok_s, _TTFT, peak,
        _ESTIMATE, status, _NOTE,
    )  # fmt: skip


def cells(row: "RunRow", specs: tuple[ColumnSpec, ...], *, now: float, marked: bool) -> list[Value]:
    """The values of one run, in the order of the columns."""
    sign = MARKED if marked else BASELINE if row.baseline else " "
    values: dict[str, Value] = {
        "run": f"{sign}{row.run_id}",
        "when": when(row.started, now),
        "kind": f" {row.kind}",
        "model": f" {one_line(short_model(row.model))}",
        "bits": formatting.UNKNOWN if row.bits is None else formatting.precision(row.bits),
        "group": row.group or formatting.UNKNOWN,
        "perplexity": formatting.UNKNOWN if row.perplexity is None else significant(row.perplexity),
        "speed": speed(row.decode_tok_s),
        "ttft": milliseconds(row.ttft_ms),
        "peak": formatting.gib(row.peak_bytes),
        "estimate": against_plan(row),
        "status": Cell(f" {row.status}", STATUS_STYLES.get(row.status, "")),
        "kl": formatting.UNKNOWN if row.kl_divergence is None else f"{row.kl_divergence:.4f}",
        "bits_per_weight": formatting.UNKNOWN
        if row.bits_per_weight is None
        else f"{row.bits_per_weight:.2f}",
        "size": formatting.memory(row.bytes),
        "note": "  " + one_line(" ".join([row.note, *(f"#{tag}" for tag in row.tags)]).strip()),
    }
    return [values[spec.key] for spec in specs]


def plotted(rows: "Sequence[RunRow]", current: "RunRow") -> list[str]:
    """What a plot shows where nothing is marked: the checkpoints of the current run's model and, to compare
    with, its latest run in 16 bits.
    """
    done = [row for row in rows if row.model == current.model and row.status == "done"]
    made = [row.run_id for row in done if row.kind == "quantize"][:MOST_PLOTTED]
    plain = [row.run_id for row in done if row.bits == 16][:1]
    return [*plain, *made] or [current.run_id]


def short_model(model: str) -> str:
    """The name without its owner or folder."""
    return model.rstrip("/").rpartition("/")[2] or model


def when(started: float, now: float) -> str:
    """The time for today's runs, the day for this year's, else year and month; local time."""
    then, today = time.localtime(started), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%m-%d", then) if then.tm_year == today.tm_year else time.strftime("%y-%m", then)


def significant(value: float) -> str:
    """A perplexity in at most five cells: `1.897`, `12.34`, `1.2e4`."""
    if value < 10:
        return f"{value:.3f}"
    if value < 100:
        return f"{value:.2f}"
    return f"{value:.0f}" if value < 10_000 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def against_plan(row: "RunRow") -> str:
    """How far the measured peak lies from what the preview promised."""
    if not row.peak_bytes or not row.predicted_bytes:
        return formatting.UNKNOWN
    return formatting.signed_percent(row.peak_bytes / row.predicted_bytes)
