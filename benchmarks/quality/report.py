"""The comparison for people: one table and one verdict for each model."""

import math
from collections.abc import Sequence

from benchmarks._table import table
from benchmarks.quality.comparison import SIZES, Row
from benchmarks.quality.frontier import OURS, Point, Verdict, frontier, loss_at, verdict

HEADER = ("quantizer", "setting", "bits/weight", "perplexity", "KL x 1000", "top-1", "frontier", "to ours")


def show(rows: Sequence[Row]) -> str:
    """The rows of one model by bits per weight.

    `frontier`: a star where nothing is at once as small and as good. `to ours`: a peer's KL divergence over
    ours at the same bits, above 1 where ours loses less.
    """
    points = [row.point for row in rows if row.size in SIZES]
    best = frontier(points)
    cells = [
        (
            row.who,
            row.detail,
            f"{row.bits:.3f}",
            f"{row.score.perplexity:.3f}" if math.isfinite(row.score.perplexity) else "overflow",
            f"{row.score.kl_divergence * 1000:.4g}",
            f"{row.score.top1_agreement * 100:.2f} %",
            "*" if row.point in best else "",
            _ratio(points, row.point),
        )
        for row in sorted(rows, key=lambda row: (row.bits, row.score.kl_divergence))
    ]
    return table(HEADER, cells)


def sentence(found: Verdict, points: Sequence[Point]) -> str:
    """The verdict on one size, with who else is there and what of ours is beaten."""
    if all(point.who == OURS for point in points):
        return f"{found.size} bits: no other quantizer was measured."
    lines = [f"{found.size} bits: {OURS} is {found.word}."]
    lines += [
        f"  {other.label} ({other.bits:.3f} bits) is on it, {_times(points, other)}."
        for other in found.others
    ]
    for mine, above in found.losing:
        best = min(above, key=lambda peer: peer.loss)
        more = f" and {len(above) - 1} more" if len(above) > 1 else ""
        what = f"{best.label} ({best.bits:.3f} bits){more}"
        lines.append(f"  {mine.detail} ({mine.bits:.3f} bits) is behind {what}.")
    return "\n".join(lines)


def verdicts(rows: Sequence[Row]) -> str:
    """The sentences on all sizes of one model."""
    points = [row.point for row in rows if row.size in SIZES]
    sizes = [size for size in SIZES if any(point.size == size for point in points)]
    return "\n".join(sentence(verdict(points, size), points) for size in sizes)


def _ratio(points: Sequence[Point], point: Point) -> str:
    loss = None if point.who == OURS or point.size not in SIZES else loss_at(points, point.size, point.bits)
    return f"{point.loss / loss:.2f}" if loss else ""


def _times(points: Sequence[Point], other: Point) -> str:
    loss = loss_at(points, other.size, other.bits)
    if not loss:
        return "smaller than any of ours"
    return f"with {other.loss / loss:.2f} times the loss of ours at its bits"
