"""One self-contained page about some runs: no script, no other file, no network; every text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from store.bars import bar_chart
from store.comparison import Comparison, as_table
from store.rows import MatrixRow, Run
from store.wording import UNKNOWN, show, show_bytes, show_precision, show_seconds, show_time, significant

WORST_MATRICES = 12

_STYLE = """
:root { color-scheme: light dark;
        --ink: #1c2430; --quiet: #667; --line: #ccd; --paper: #fff; --bar: #2f6fb0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dde3ea; --quiet: #99a; --line: #445; --paper: #14181d; --bar: #6aa5e0; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } h3 { font-size: 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.number { text-align: right }
.quiet { color: var(--quiet) }
.wide { overflow-x: auto }
pre { white-space: pre-wrap; overflow-wrap: anywhere;
      border-left: 3px solid var(--line); padding-left: .8rem }
svg { width: 100%; max-width: 640px; font: 12px system-ui, sans-serif; fill: var(--ink) }
svg .label { text-anchor: end } .bar { fill: var(--bar); stroke: var(--bar) } .hollow { fill-opacity: .15 }
"""
_NUMBER_CELL = '<td class="number">'
# The page may show itself and nothing else: whatever a prompt smuggles in can load nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(runs: Sequence[Run], comparison: Comparison | None) -> str:
    """The whole page. With one run there is no comparison, with none it says so."""
    title = "fqconsole runs" if len(runs) != 1 else f"fqconsole run {runs[0].row.run_id}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        _overview(runs) if runs else "<p>No run was chosen.</p>",
    ]
    if comparison is not None and len(comparison.run_ids) > 1:
        parts.append(_comparison(comparison))
    parts += [_details(run) for run in runs]
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]], *, numbers_from: int) -> str:
    """Cells are escaped here; columns from `numbers_from` on are numbers."""
    rows = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for line in lines:
        cells = (
            f"{_NUMBER_CELL if place >= numbers_from else '<td>'}{escape(cell)}</td>"
            for place, cell in enumerate(line)
        )
        rows.append("<tr>" + "".join(cells) + "</tr>")
    return '<div class="wide"><table>' + "".join(rows) + "</table></div>"


def _overview(runs: Sequence[Run]) -> str:
    head = ("run", "when", "kind", "model", "bits / group", "status", "device", "ppl", "KL", "tok/s", "TTFT",
            "weights", "peak")  # fmt: skip
    lines = [
        (
            run.row.run_id, show_time(run.row.started), run.row.kind, run.row.model,
            show_precision(run.row.bits, run.row.group), run.row.status,
            str(run.host.get("device_name") or run.row.device or UNKNOWN),
            show(run.row.perplexity, "number"), show(run.row.kl_divergence, "number"),
            show(run.row.decode_tok_s, "tok/s"), show(run.row.ttft_ms, "ms"), show(run.row.bytes, "bytes"),
            show(run.row.peak_bytes, "bytes"),
        )
        for run in runs
    ]  # fmt: skip
    return _table(head, lines, numbers_from=7)


def _comparison(comparison: Comparison) -> str:
    parts = [
        f"<h2>Against {escape(comparison.baseline)}: what differs</h2>",
        _table(*as_table(comparison), numbers_from=99),
    ]
    if comparison.same:
        parts.append(f'<p class="quiet">{comparison.same} more lines are the same for all.</p>')
    for row in comparison.rows:
        if row.unit != "text":
            wish = f" ({row.better} is better)" if row.better else ""
            bars = [(run, c.value, c.text) for run, c in zip(comparison.run_ids, row.cells, strict=True)]
            parts.append(f"<h3>{escape(row.label + wish)}</h3>")
            parts.append(bar_chart(row.label, bars, marked=comparison.baseline))
    return "\n".join(parts)


def _details(run: Run) -> str:
    row = run.row
    parts = [f"<h2>{escape(row.run_id)}: {escape(row.kind)} {escape(row.model)}</h2>"]
    facts = [show_time(row.started)]
    if row.seconds is not None:
        facts.append(show_seconds(row.seconds))
    facts += [row.status, *(f"#{tag}" for tag in row.tags)]
    parts.append(f'<p class="quiet">{escape(" · ".join(facts))}</p>')
    if row.note:
        parts.append(f"<p>{escape(row.note)}</p>")
    if run.error is not None:
        said = f"{run.error.get('what', '')} {run.error.get('next_step', '')}".strip()
        parts.append(f"<p>✗ {escape(said)}</p>")
    if run.matrices:
        parts.append(_matrices(run.matrices))
    if any(term.predicted is not None and term.measured is not None for term in run.memory):
        parts.append(_memory(run))
    if run.generation is not None:
        for label, text in (("prompt", run.generation.prompt), ("answer", run.generation.output)):
            if text:
                parts.append(f"<h3>{label}</h3><pre>{escape(text)}</pre>")
    return "\n".join(parts)


def _matrices(matrices: Sequence[MatrixRow]) -> str:
    worst = sorted(matrices, key=lambda matrix: -matrix.relative_error)[:WORST_MATRICES]
    bars = [
        (
            matrix.name if len(matrix.name) <= 24 else "…" + matrix.name[-23:],
            matrix.relative_error,
            f"{significant(matrix.relative_error)} · {show_precision(matrix.bits, _group(matrix))}",
        )
        for matrix in worst
    ]
    title = f"Largest relative errors of {len(matrices)} matrices"
    lines = [
        (m.name, "×".join(map(str, m.shape)), m.reason, show_precision(m.bits, _group(m)),
         significant(m.relative_error), show_bytes(m.bytes))
        for m in matrices
    ]  # fmt: skip
    table = _table(
        ("matrix", "shape", "reason", "bits / group", "relative error", "size"), lines, numbers_from=4
    )
    return (
        f"<h3>{title}</h3>{bar_chart(title, bars)}<details><summary>All matrices</summary>{table}</details>"
    )


def _group(matrix: MatrixRow) -> str:
    return "channel" if matrix.group_size is None else str(matrix.group_size)


def _memory(run: Run) -> str:
    lines = [
        ("host" if term.gpu is None else f"GPU {term.gpu}", term.term, show(term.predicted, "bytes"),
         show(term.measured, "bytes"))
        for term in run.memory
    ]  # fmt: skip
    return "<h3>Memory</h3>" + _table(("where", "term", "predicted", "measured"), lines, numbers_from=2)
