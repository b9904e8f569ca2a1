"""Runs written out: JSON and CSV for programs, Markdown, plain text and an HTML page for people."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from store.comparison import Comparison, as_table
from store.report import in_short, page
from store.rows import Run, RunRow
from store.store import Store
from store.wording import UNKNOWN, show, show_precision, show_seconds, show_time

LATEST = 50  # runs on a checkpoint looked through for its latest answer
JSON_FORMAT = 1  # changes when a key changes its meaning

_CSV_COLUMNS = (
    "run_id", "kind", "status", "started", "ended", "seconds", "model", "revision", "path", "bits", "group",
    "granularity", "device", "perplexity", "kl_divergence", "decode_tok_s", "ttft_ms", "bits_per_weight",
    "bytes", "peak_bytes", "predicted_bytes", "parent", "baseline", "note", "tags",
)  # fmt: skip
_ESCAPED = r"\\\1"
_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def to_json(store: Store, run_ids: Sequence[str]) -> str:
    """Everything of these runs, GPU samples thinned; `format` is the version of this layout."""
    runs = [
        {
            **msgspec.to_builtins(store.run(run_id)),
            "gpu_samples": msgspec.to_builtins(store.gpu_samples(run_id)),
        }
        for run_id in run_ids
    ]
    return json.dumps({"format": JSON_FORMAT, "runs": _finite(runs)}, ensure_ascii=False, indent=1) + "\n"


def to_csv(store: Store, run_ids: Sequence[str]) -> str:
    """One line a run under one line of column names; unknown is empty, times are seconds since the epoch."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in store.rows(run_ids):
        writer.writerow([_csv_value(getattr(row, name)) for name in _CSV_COLUMNS])
    return out.getvalue()


def to_markdown(store: Store, run_ids: Sequence[str], baseline: str | None = None) -> str:
    """A table of the runs and, with two or more, what that means in short and what differs between them."""
    rows = store.rows(run_ids)
    head = (
        "run",
        "when",
        "kind",
        "model",
        "bits / group",
        "ppl",
        "tok/s",
        "TTFT",
        "weights",
        "status",
        "note",
    )
    parts = ["# Runs", _markdown_table(head, [_line(row) for row in rows])]
    if len(rows) > 1 or baseline is not None:
        comparison = store.compare(run_ids, baseline)
        short = in_short(store.points(comparison.run_ids), comparison)
        if short:
            parts.append("\n".join(f"- {_MARKUP.sub(_ESCAPED, sentence)}" for sentence in short))
        parts += [f"## Against {comparison.baseline}", _markdown_table(*as_table(comparison))]
    return "\n\n".join(parts) + "\n"


def to_html(store: Store, run_ids: Sequence[str], baseline: str | None = None) -> str:
    """One page that needs no other file and no network: the runs in short, plots, what differs, matrices,
    answers beside each other.
    """
    if not run_ids:
        return page([], None)
    comparison = store.compare(run_ids, baseline)
    # The baseline belongs to the picture, also where it was not chosen.
    runs = [store.run(run_id) for run_id in comparison.run_ids]
    points = [
        msgspec.structs.replace(point, baseline=point.run_id == comparison.baseline and len(runs) > 1)
        for point in store.points(comparison.run_ids)
    ]
    return page(runs, comparison, points, _latest_answers(store, runs))


def _latest_answers(store: Store, runs: Sequence[Run]) -> dict[str, Run]:
    """What the checkpoints of these runs answered last."""
    found: dict[str, Run] = {}
    for run in runs:
        rows = reversed(store.rows(run.children[-LATEST:])) if run.generation is None else ()
        latest = next((row for row in rows if row.kind == "generate" and row.status == "done"), None)
        if latest is not None:
            found[run.row.run_id] = store.run(latest.run_id)
    return found


def to_text(comparison: Comparison) -> str:
    """A comparison as aligned columns for a terminal."""
    head, lines = as_table(comparison)
    table = [list(head), *lines]
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    if comparison.same:
        text.append(f"{comparison.same} more lines are the same for all.")
    return "\n".join(text)


def _line(row: RunRow) -> list[str]:
    length = "" if row.seconds is None else f" ({show_seconds(row.seconds)})"
    return [
        row.run_id,
        show_time(row.started),
        row.kind,
        row.model,
        show_precision(row.bits, row.group),
        show(row.perplexity, "perplexity"),
        show(row.decode_tok_s, "tok/s"),
        show(row.ttft_ms, "ms"),
        show(row.bytes, "bytes"),
        row.status + length,
        " ".join(filter(None, (row.note, *(f"#{tag}" for tag in row.tags)))) or UNKNOWN,
    ]


def _markdown_table(head: Iterable[str], lines: Iterable[Sequence[str]]) -> str:
    head = tuple(head)
    rows = [head, tuple("---" for _ in head)]
    text = [_markdown_row(rows[0]), "|" + "|".join(rows[1]) + "|"]
    return "\n".join([*text, *(_markdown_row(line) for line in lines)])


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_MARKUP.sub(_ESCAPED, " ".join(cell.split())) for cell in cells) + " |"


def _csv_value(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, tuple):
        value = " ".join(value)
    if isinstance(value, bool):
        return int(value)
    # A spreadsheet would run a text that begins like a formula.
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value


def _finite(value: Any) -> Any:
    """JSON knows no infinity: such a number becomes null."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
