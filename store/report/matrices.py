"""The matrices of a quantize run: their errors by layer, the map of bits and groups, the worst ones, all."""

from collections import Counter
from collections.abc import Sequence

from store.axes import Axis, scale_of
from store.report.bars import Bar, bar_chart
from store.report.escaping import escape
from store.report.table import table
from store.rows import MatrixRow
from store.wording import show_bytes, show_precision, significant

WORST_MATRICES = 12
WIDTH, HEIGHT = 640, 220
LEFT, TOP, BOTTOM = 62, 10, 34
CELL_WIDTH, CELL_HEIGHT, HEAD = 74, 18, 20
LETTER = 6.6
_ERROR = Axis("relative_error", "relative error", "number", "lower")


def matrices_section(matrices: Sequence[MatrixRow]) -> str:
    """Everything on the matrices of one run; there is one at least."""
    worst = sorted(matrices, key=lambda matrix: -matrix.relative_error)[:WORST_MATRICES]
    bars = [
        Bar(m.name, m.relative_error, f"{significant(m.relative_error)} · {_precision(m)}") for m in worst
    ]
    title = f"Largest relative errors of {len(matrices)} matrices"
    lines = [
        (m.name, "×".join(map(str, m.shape)), m.reason, _precision(m), significant(m.relative_error),
         show_bytes(m.bytes))
        for m in matrices
    ]  # fmt: skip
    head = ("matrix", "shape", "reason", "bits / group", "relative error", "size")
    charts = [
        ("Relative error by layer", error_plot(matrices)),
        (title, bar_chart(title, bars)),
        ("Bits and groups", heat_map(matrices)),
    ]
    parts = [f"<div><h3>{escape(name)}</h3>{chart}</div>" for name, chart in charts if chart]
    return (
        f'<div class="grid">{"".join(parts)}</div><details><summary>All matrices</summary>'
        f"{table(head, lines, numbers_from=4)}</details>"
    )


def error_plot(matrices: Sequence[MatrixRow]) -> str:
    """A dot for each matrix over its layer, the error upwards; a triangle where its group is another."""
    placed = [m for m in matrices if m.layer is not None and m.relative_error > 0]
    if not placed:
        return ""
    usual = Counter((m.bits, m.group_size) for m in placed).most_common(1)[0][0]
    scale = scale_of([m.relative_error for m in placed], _ERROR, most_marks=5)
    layers = max(m.layer or 0 for m in placed) + 1
    step = (WIDTH - LEFT - 10) / layers
    bottom = HEIGHT - BOTTOM
    title = "Relative error by layer"
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>']
    for mark in scale.marks:
        y = TOP + (1 - scale.place(mark)) * (bottom - TOP)
        parts.append(f'<path class="grid-line" d="M{LEFT} {y:.1f}H{WIDTH}"/>')
        parts.append(f'<text class="label faint" x="{LEFT - 6}" y="{y + 4:.1f}">{significant(mark)}</text>')
    every = max(1, -(-layers // 12))
    for layer in range(0, layers, every):
        x = LEFT + (layer + 0.5) * step
        parts.append(f'<text class="middle faint" x="{x:.1f}" y="{bottom + 15}">{layer}</text>')
    for m in placed:
        x = LEFT + ((m.layer or 0) + 0.5) * step
        y = TOP + (1 - scale.place(m.relative_error)) * (bottom - TOP)
        words = f"<title>{escape(f'{m.name}: {significant(m.relative_error)}, {_precision(m)}')}</title>"
        if (m.bits, m.group_size) == usual:
            parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3">{words}</circle>')
        else:
            parts.append(f'<path class="finer" d="M{x:.1f} {y - 4:.1f}l4 7h-8z">{words}</path>')
    legend = f"layer · ● {show_precision(usual[0], _group(usual[1]))}"
    if any((m.bits, m.group_size) != usual for m in placed):
        legend += "   ▲ another choice"
    middle = (LEFT + WIDTH) / 2
    parts.append(f'<text class="middle" x="{middle}" y="{HEIGHT - 4}">{escape(legend)}</text></svg>')
    return "".join(parts)


def heat_map(matrices: Sequence[MatrixRow]) -> str:
    """Rows are layers, columns the kinds of matrices; each cell says bits and group, and is darker for more
    bits a weight.
    """
    placed = [m for m in matrices if m.layer is not None]
    if not placed:
        return ""
    kinds = list(dict.fromkeys(m.kind for m in placed))
    layers = sorted({m.layer for m in placed if m.layer is not None})
    found: dict[tuple[int | None, str], set[tuple[int, int | None]]] = {}
    for m in placed:
        found.setdefault((m.layer, m.kind), set()).add((m.bits, m.group_size))
    left = 40
    width, height = left + CELL_WIDTH * len(kinds), HEAD + CELL_HEIGHT * len(layers)
    title = "Bits and groups of every matrix"
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}"><title>{title}</title>']
    letters = int((CELL_WIDTH - 4) / LETTER)
    for column, kind in enumerate(kinds):
        x = left + (column + 0.5) * CELL_WIDTH
        short = kind if len(kind) <= letters else "…" + kind[1 - letters :]
        parts.append(f'<text class="middle faint" x="{x}" y="13">{escape(short)}</text>')
    for row, layer in enumerate(layers):
        y = HEAD + row * CELL_HEIGHT
        parts.append(f'<text class="label faint" x="{left - 6}" y="{y + 13}">{layer}</text>')
        for column, kind in enumerate(kinds):
            schemes = found.get((layer, kind))
            if schemes is not None:
                parts.append(_cell(left + column * CELL_WIDTH, y, schemes))
    return "".join([*parts, "</svg>"])


def _cell(x: int, y: int, schemes: set[tuple[int, int | None]]) -> str:
    width = max(bits + (16 / group if group else 0) for bits, group in schemes)
    shade = min(1.0, max(0.08, (width - 2.5) / 6))
    bits, group = next(iter(schemes))
    text = f"{bits} · {group or 'ch'}" if len(schemes) == 1 else "mixed"
    style = "middle on" if shade > 0.55 else "middle"
    middle = x + CELL_WIDTH / 2
    return (
        f'<rect class="cell" x="{x + 1}" y="{y + 1}" width="{CELL_WIDTH - 2}" height="{CELL_HEIGHT - 2}" '
        f'fill-opacity="{shade:.2f}"/><text class="{style}" x="{middle}" y="{y + 13}">{text}</text>'
    )


def _precision(matrix: MatrixRow) -> str:
    return show_precision(matrix.bits, _group(matrix.group_size))


def _group(size: int | None) -> str:
    return "channel" if size is None else str(size)
