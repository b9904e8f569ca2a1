"""Relative error by layer as bars in braille on a logarithmic scale: text from numbers and a size."""

import math
from collections.abc import Sequence

AXIS = 6  # cells of the scale and its line
# Braille dots that fill a cell of one column from the bottom, by the number of filled quarters.
LEFT = (0x00, 0x40, 0x44, 0x46, 0x47)
RIGHT = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
BLANK = 0x2800


def scale(values: Sequence[float]) -> list[float]:
    """Marks at 1, 2 and 5 times powers of ten that enclose all positive values, lowest first."""
    positive = [value for value in values if value > 0] or [0.01, 0.5]
    powers = range(math.floor(math.log10(min(positive))) - 1, math.ceil(math.log10(max(positive))) + 1)
    marks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    low = max(mark for mark in marks if mark < min(positive) * 0.8)
    high = min(mark for mark in [*marks, 10.0 ** (powers[-1] + 1)] if mark >= max(positive))
    return [mark for mark in marks if low <= mark < high] + [high]


def chart(
    layers: Sequence[tuple[int, float, bool]], width: int, height: int, count: int | None = None
) -> list[str]:
    """`height` lines of at most `width` cells: bars, the axis, the layer numbers; ▴ under what went finer.

    `layers` holds (layer, error, went finer); `count` is the number of layers to make room for.
    """
    rows, cells = height - 2, width - AXIS
    if rows < 1 or cells < 4:
        return []
    total = max([count or 0, *(layer + 1 for layer, _error, _finer in layers)], default=1)
    marks = scale([error for _layer, error, _finer in layers])
    low, high = math.log10(marks[0]), math.log10(marks[-1])
    levels = [0] * (cells * 2)
    spots: dict[int, bool] = {}
    for layer, error, finer in layers:
        first, after = _columns(layer, total, cells * 2)
        level = _level(error, low, high, rows * 4)
        for column in range(first, after):
            levels[column] = max(levels[column], level)
        spots[first // 2] = spots.get(first // 2, False) or finer
    lines = [f"{_label(row, rows, marks)}{_row(levels, rows - 1 - row)}".rstrip() for row in range(rows)]
    lines.append(
        f"{_number(marks[0])}└".rjust(AXIS)
        + "".join("▴" if spots.get(cell) else "─" for cell in range(cells))
    )
    lines.append(" " * AXIS + _numbers(total, cells))
    return lines


def _columns(layer: int, total: int, columns: int) -> tuple[int, int]:
    """The braille columns of one layer: its share of the width, one column of gap where there is room."""
    first = layer * columns // total
    after = max(first + 1, (layer + 1) * columns // total)
    return first, after - 1 if after - first > 3 else after


def _level(error: float, low: float, high: float, steps: int) -> int:
    if error <= 0:
        return 0
    return min(steps, max(1, round((math.log10(error) - low) / (high - low) * steps)))


def _row(levels: Sequence[int], row: int) -> str:
    """One line of cells; `row` counts from the bottom."""
    cells = []
    for left, right in zip(levels[::2], levels[1::2], strict=True):
        dots = LEFT[min(4, max(0, left - row * 4))] | RIGHT[min(4, max(0, right - row * 4))]
        cells.append(chr(BLANK + dots) if dots else " ")
    return "".join(cells)


def _label(row: int, rows: int, marks: Sequence[float]) -> str:
    """The mark at the top of this line, where there is one."""
    low, high = math.log10(marks[0]), math.log10(marks[-1])
    for mark in reversed(marks[1:]):
        if row == rows - round((math.log10(mark) - low) / (high - low) * rows):
            return _number(mark).rjust(AXIS - 1) + "┤"
    return "│".rjust(AXIS)


def _number(mark: float) -> str:
    return f"{mark:.3g}".removeprefix("0")


def _numbers(total: int, cells: int) -> str:
    """Layer numbers under the axis, as many as stand apart."""
    line = [" "] * (cells + 4)
    free_from = 0
    step = max(1, math.ceil(total / max(1, cells // 5)))
    for layer in range(0, total, step):
        place, word = layer * cells // total, str(layer)
        if place >= free_from and place + len(word) <= cells:
            line[place : place + len(word)] = word
            free_from = place + len(word) + 1
    return "".join(line).rstrip()
