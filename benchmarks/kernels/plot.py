"""The roofline as a picture: time against packed bytes, ours, peers and the limit, both axes logarithmic."""

import math
from collections.abc import Sequence
from html import escape

from benchmarks.kernels.layers import MAIN, Scheme
from benchmarks.kernels.points import OURS, Record
from benchmarks.kernels.ratios import all_layers
from benchmarks.kernels.report import peers_of

WIDTH, HEIGHT = 760, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 44, 54
INK, PALE = "#334155", "#cbd5e1"
OUR_COLOUR = "#dc2626"
# Told apart in grey, too: each has its own shape.
PEER_STYLES = (("#2563eb", "square"), ("#059669", "diamond"), ("#9333ea", "triangle"), ("#d97706", "cross"),
               ("#0891b2", "square"), ("#64748b", "diamond"))  # fmt: skip

Pair = tuple[float, float]


class Axis:
    """One logarithmic axis from a value to a pixel."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = math.log10(low), math.log10(high)
        self.start, self.end = start, end

    def pixel(self, value: float) -> float:
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """1, 2 and 5 of every decade inside."""
        steps = [
            m * 10.0**e for e in range(math.floor(self.low), math.ceil(self.high) + 1) for m in (1, 2, 5)
        ]
        return [s for s in steps if self.low - 1e-9 <= math.log10(s) <= self.high + 1e-9]


def roofline_svg(record: Record, rows: int = 1, scheme: Scheme = MAIN, dtype: str = "fp16") -> str:
    """An SVG document; raises ValueError where nothing was measured at so many rows."""
    series = series_of(record, rows, scheme, dtype)
    if not any(points for points in series.values()):
        raise ValueError(f"no points at {rows} rows in {scheme.label}")
    sizes = [mb for points in series.values() for mb, _ in points]
    line = limit_line(record, scheme, rows, min(sizes) / 1.3, max(sizes) * 1.3)
    times = [us for points in (*series.values(), line) for _, us in points]
    x = Axis(min(sizes) / 1.3, max(sizes) * 1.3, LEFT, WIDTH - RIGHT)
    y = Axis(min(times) / 1.3, max(times) * 1.3, HEIGHT - BOTTOM, TOP)
    title = f"{scheme.label}, {rows} row{'s' if rows > 1 else ''}, {record.facts.get('gpu', 'GPU')}"
    body = [*_frame(x, y, title), _polyline(x, y, line)]
    styles = dict(zip((who for who in series if who != OURS), PEER_STYLES, strict=False))
    for who, points in series.items():
        colour, shape = (OUR_COLOUR, "circle") if who == OURS else styles.get(who, (INK, "cross"))
        body += [mark(shape, x.pixel(mb), y.pixel(us), colour) for mb, us in points]
    body += _legend(list(series), styles)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
    return f'{head}font-size="12" fill="{INK}">\n' + "\n".join(body) + "\n</svg>\n"


def series_of(record: Record, rows: int, scheme: Scheme, dtype: str) -> dict[str, list[Pair]]:
    """(packed MB, µs) of each layer, by who; peers stand at our bytes, so that one layer is one column."""
    size = {layer.label: scheme.packed_bytes(layer.n, layer.k) / 1e6 for layer in all_layers()}
    series: dict[str, list[Pair]] = {OURS: [], **{peer: [] for peer in peers_of(record)}}
    for point in record.points:
        ours = point.who == OURS and point.dtype == dtype
        if (
            (point.rows, point.scheme) == (rows, scheme.label)
            and (ours or point.who in series)
            and (ours or point.who != OURS)
        ):
            series[point.who].append((size[point.layer], point.microseconds))
    return {who: sorted(points) for who, points in series.items() if points}


def limit_line(record: Record, scheme: Scheme, rows: int, low: float, high: float) -> list[Pair]:
    """The roof between two sizes in MB."""
    steps = 60
    line = []
    for step in range(steps + 1):
        mb = low * (high / low) ** (step / steps)
        operations = 2 * rows * mb * 8e6 / (scheme.packed_bytes(4096, 4096) * 8 / 4096**2)
        line.append((mb, record.roof.limit(int(mb * 1e6), int(operations))))
    return line


def mark(shape: str, x: float, y: float, colour: str) -> str:
    if shape == "circle":
        return f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"/>'
    if shape == "square":
        corner = f'x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"'
        return f'<rect {corner} fill="none" stroke="{colour}" stroke-width="2"/>'
    paths = {
        "diamond": ((0, -6), (6, 0), (0, 6), (-6, 0), (0, -6)),
        "triangle": ((0, -6), (6, 5), (-6, 5), (0, -6)),
        "cross": ((-5, -5), (5, 5), (0, 0), (-5, 5), (5, -5)),
    }
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in paths[shape])
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _polyline(x: Axis, y: Axis, line: Sequence[Pair]) -> str:
    points = " ".join(f"{x.pixel(mb)},{y.pixel(us)}" for mb, us in line)
    return (
        f'<polyline points="{points}" fill="none" stroke="{INK}" stroke-width="1.5" stroke-dasharray="6 4"/>'
    )


def _text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def _frame(x: Axis, y: Axis, title: str) -> list[str]:
    lines = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>']
    for tick in x.ticks():
        at = x.pixel(tick)
        lines.append(f'<line x1="{at}" y1="{TOP}" x2="{at}" y2="{HEIGHT - BOTTOM}" stroke="{PALE}"/>')
        lines.append(_text(at, HEIGHT - BOTTOM + 18, f"{tick:g}"))
    for tick in y.ticks():
        at = y.pixel(tick)
        lines.append(f'<line x1="{LEFT}" y1="{at}" x2="{WIDTH - RIGHT}" y2="{at}" stroke="{PALE}"/>')
        lines.append(_text(LEFT - 8, at + 4, f"{tick:g}", "end"))
    lines.append(_text((LEFT + WIDTH - RIGHT) / 2, 24, title, more=' font-size="15"'))
    lines.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "packed weights, MB"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    lines.append(_text(18, middle, "µs", more=f' transform="rotate(-90 18 {middle})"'))
    return lines


def _legend(names: Sequence[str], styles: dict[str, tuple[str, str]]) -> list[str]:
    left = WIDTH - RIGHT + 24
    lines = []
    for index, name in enumerate(names):
        at = TOP + 12 + 22 * index
        colour, shape = (OUR_COLOUR, "circle") if name == OURS else styles.get(name, (INK, "cross"))
        lines += [mark(shape, left, at, colour), _text(left + 14, at + 4, name, "start")]
    at = TOP + 12 + 22 * len(names)
    lines.append(
        f'<line x1="{left - 8}" y1="{at}" x2="{left + 8}" y2="{at}" stroke="{INK}" stroke-dasharray="6 4"/>'
    )
    lines.append(_text(left + 14, at + 4, "limit", "start"))
    return lines
