"""The page: no script, no other file, no network; every text is escaped."""

from collections.abc import Sequence

import msgspec

from store.axes import AXES
from store.comparison import Comparison, ComparisonRow, as_table
from store.points import Point
from store.report.answers import answers_section
from store.report.bars import Bar, bar_chart
from store.report.escaping import escape
from store.report.matrices import matrices_section
from store.report.plots import scatter
from store.report.style import STYLE
from store.report.summary import WORDS, in_short
from store.report.table import table
from store.rows import Run
from store.wording import UNKNOWN, show, show_precision, show_seconds, show_time

# The page may show itself and nothing else: whatever a prompt smuggles in can load nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_PAIRS = ((0, 1), (0, 2), (2, 1))  # of AXES: size and quality, size and speed, speed and quality


def page(
    runs: Sequence[Run],
    comparison: Comparison | None,
    points: Sequence[Point] = (),
    of_checkpoints: dict[str, Run] | None = None,
) -> str:
    """The whole page. With one run there is no comparison, with none it says so. `of_checkpoints` holds the
    latest answer of runs that made a checkpoint.
    """
    title = "fqconsole runs" if len(runs) != 1 else f"fqconsole run {runs[0].row.run_id}"
    models = list(dict.fromkeys(run.row.model for run in runs))
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{escape(" · ".join(models))}</p>' if runs else "<p>No run was chosen.</p>",
    ]
    if comparison is not None and len(comparison.run_ids) > 1:
        short = in_short(points, comparison)
        if short:
            items = "".join(f"<li>{escape(sentence)}</li>" for sentence in short)
            parts.append(f'<h2>In short</h2><ul class="short">{items}</ul>')
    parts += [_plots(points), answers_section(runs, of_checkpoints or {})]
    if comparison is not None and len(comparison.run_ids) > 1:
        parts.append(_comparison(comparison))
    memory = _memory_bars(runs)
    if memory:
        parts.append(f"<h2>Memory: planned and measured</h2>{memory}")
    if len(runs) > 1:
        parts.append(f"<h2>The runs</h2>{_overview(runs)}")
    parts += [_details(run) for run in runs]
    if runs:
        parts.append(_words())
    return "\n".join([*filter(None, parts), "</body></html>"]) + "\n"


def _plots(points: Sequence[Point]) -> str:
    charts = []
    for across, up in _PAIRS:
        chart = scatter(points, AXES[across], AXES[up])
        if chart:
            head = f"{AXES[up].label} against {AXES[across].label}"
            charts.append(f"<div><h3>{escape(head[0].upper() + head[1:])}</h3>{chart}</div>")
    if not charts:
        return ""
    legend = "Filled: no other run is better in both. Hollow: another one is. Diamond: the baseline."
    return (
        f'<h2>Size, quality, speed</h2><div class="grid">{"".join(charts)}</div><p class="quiet">{legend}</p>'
    )


def _comparison(comparison: Comparison) -> str:
    measured = [row for row in comparison.rows if row.unit != "text"]
    settings = [row for row in comparison.rows if row.unit == "text"]
    parts = [f"<h2>Against {escape(comparison.baseline)}: what differs</h2>"]
    if measured:
        parts.append(_rows(comparison, measured))
        parts.append(
            '<p class="quiet">± is one standard deviation over n measurements; within noise: chance alone '
            "may explain the difference.</p>"
        )
        charts = [_row_chart(row, comparison) for row in measured if row.better]
        parts.append(f'<div class="grid">{"".join(charts)}</div>')
    if settings:
        same = f" ({comparison.same} more are the same for all)" if comparison.same else ""
        parts.append(
            f"<details><summary>Settings that differ{same}</summary>{_rows(comparison, settings)}</details>"
        )
    return "\n".join(parts)


def _rows(comparison: Comparison, rows: Sequence[ComparisonRow]) -> str:
    some = msgspec.structs.replace(comparison, rows=tuple(rows))
    return table(*as_table(some), numbers_from=len(comparison.run_ids) + 1)


def _row_chart(row: ComparisonRow, comparison: Comparison) -> str:
    wish = f" ({row.better} is better)" if row.better else ""
    bars = [
        Bar(run, cell.value, cell.text, cell.spread, hollow=run == comparison.baseline)
        for run, cell in zip(comparison.run_ids, row.cells, strict=True)
    ]
    return f"<div><h3>{escape(row.label + wish)}</h3>{bar_chart(row.label, bars)}</div>"


def _memory_bars(runs: Sequence[Run]) -> str:
    """What the preview said and what was measured, of every run that has either."""
    bars = []
    for run in runs:
        row = run.row
        if row.predicted_bytes is not None:
            text = show(row.predicted_bytes, "bytes")
            bars.append(Bar(f"{row.run_id} planned", row.predicted_bytes, text, hollow=True))
        if row.peak_bytes is not None:
            bars.append(Bar(f"{row.run_id} measured", row.peak_bytes, show(row.peak_bytes, "bytes")))
    return bar_chart("Memory, planned and measured", bars) if bars else ""


def _overview(runs: Sequence[Run]) -> str:
    head = ("run", "when", "kind", "model", "bits / group", "status", "device", "ppl", "KL", "tok/s", "TTFT",
            "weights", "peak")  # fmt: skip
    lines = [
        (
            run.row.run_id, show_time(run.row.started), run.row.kind, run.row.model,
            show_precision(run.row.bits, run.row.group), run.row.status,
            str(run.host.get("device_name") or run.row.device or UNKNOWN),
            show(run.row.perplexity, "perplexity"), show(run.row.kl_divergence, "number"),
            show(run.row.decode_tok_s, "tok/s"), show(run.row.ttft_ms, "ms"), show(run.row.bytes, "bytes"),
            show(run.row.peak_bytes, "bytes"),
        )
        for run in runs
    ]  # fmt: skip
    return table(head, lines, numbers_from=7)


def _details(run: Run) -> str:
    row = run.row
    facts = [show_time(row.started)]
    if row.seconds is not None:
        facts.append(show_seconds(row.seconds))
    facts += [row.status, *(f"#{tag}" for tag in row.tags)]
    device = run.host.get("device_name") or row.device
    if device:
        facts.append(str(device))
    parts = [
        f"<h2>{escape(row.run_id)}: {escape(row.kind)} {escape(row.model)}</h2>",
        f'<p class="quiet">{escape(" · ".join(facts))}</p>',
    ]
    if row.note:
        parts.append(f"<p>{escape(row.note)}</p>")
    if run.error is not None:
        said = f"{run.error.get('what', '')} {run.error.get('next_step', '')}".strip()
        parts.append(f"<p>✗ {escape(said)}</p>")
    if run.matrices:
        parts.append(matrices_section(run.matrices))
    if any(term.predicted is not None and term.measured is not None for term in run.memory):
        parts.append(_memory(run))
    return "\n".join(parts)


def _memory(run: Run) -> str:
    lines = [
        ("host" if term.gpu is None else f"GPU {term.gpu}", term.term, show(term.predicted, "bytes"),
         show(term.measured, "bytes"))
        for term in run.memory
    ]  # fmt: skip
    found = table(("where", "term", "planned", "measured"), lines, numbers_from=2)
    return f"<details><summary>Memory, term by term</summary>{found}</details>"


def _words() -> str:
    rows = "".join(f"<tr><td>{escape(word)}</td><td>{escape(said)}</td></tr>" for word, said in WORDS)
    return f"<h2>Words</h2><table>{rows}</table>"
