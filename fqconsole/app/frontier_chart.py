"""Size against predicted loss as text: a dot a plan of the frontier, and the chosen plan on it."""

import math
from collections.abc import Sequence

from fqconsole.app import formatting

AXIS = 9  # cells of the scale and its line
POINT, CHOSEN = "·", "●"


def chart(
    points: Sequence[tuple[float, float]],
    chosen: tuple[float, float] | None,
    width: int,
    height: int,
) -> list[str]:
    """`height` lines of at most `width` cells: predicted loss on a scale of powers over bits per weight.

    `points` and `chosen` are (bits per weight, loss); a loss of 0 can't be drawn and is left out.
    """
    rows, columns = height - 2, width - AXIS - 1
    drawn = [point for point in points if point[1] > 0]
    mark = chosen if chosen is not None and chosen[1] > 0 else None
    every = [*drawn, mark] if mark else drawn
    if rows < 2 or columns < 12 or len(every) < 2:
        return []
    heights = [math.log10(loss) for _bits, loss in every]
    low, high = min(heights), max(heights)
    left, right = min(bits for bits, _loss in every), max(bits for bits, _loss in every)
    grid = [[" "] * columns for _ in range(rows)]

    def put(point: tuple[float, float], sign: str) -> None:
        row = round((high - math.log10(point[1])) / max(high - low, 1e-9) * (rows - 1))
        column = round((point[0] - left) / max(right - left, 1e-9) * (columns - 1))
        grid[row][column] = sign

    for point in drawn:
        put(point, POINT)
    if mark:
        put(mark, CHOSEN)
    step = max(1, (rows - 1) // 3)
    lines = []
    for index, cells in enumerate(grid):
        loss = 10 ** (high - (high - low) * index / (rows - 1))
        told = index % step == 0 or index == rows - 1
        label = formatting.share(loss) if told else ""
        lines.append(f"{label:>{AXIS - 1}} │{''.join(cells)}".rstrip())
    lines.append(f"{'':>{AXIS - 1}} └{'─' * columns}")
    lines.append(f"{'':>{AXIS}}{_scale(left, right, columns + 1)}".rstrip())
    return lines


def _scale(left: float, right: float, columns: int) -> str:
    """The two ends, and what the axis is in between."""
    first, last, words = f"{left:.2f}", f"{right:.2f}", "bits per weight"
    free = columns - len(first) - len(last)
    return f"{first}{words if free > len(words) + 2 else '':^{max(1, free)}}{last}"
