"""Readings over time as a filled graph in braille: two readings and four levels a cell, the newest right."""

from collections.abc import Sequence

from fqconsole.app.error_chart import BLANK, LEFT, RIGHT


def area(values: Sequence[float | None], width: int, height: int, *, top: float) -> list[str]:
    """`height` lines of `width` cells, from the top; a reading of `top` fills them. What was not read stays
    empty, what was read as nothing leaves one dot.
    """
    if width < 1 or height < 1:
        return [""] * max(0, height)
    shown = list(values)[-width * 2 :]
    padded = [*(None for _ in range(width * 2 - len(shown))), *shown]
    levels = [_level(value, height * 4, top) for value in padded]
    return [_line(levels, row) for row in range(height - 1, -1, -1)]


def _level(value: float | None, steps: int, top: float) -> int:
    """Filled quarters of a column; one where there was a reading."""
    if value is None or top <= 0:
        return 0
    return min(steps, max(1, round(value / top * steps)))


def _line(levels: Sequence[int], row: int) -> str:
    """One line of cells; `row` counts from the bottom."""
    cells = []
    for left, right in zip(levels[::2], levels[1::2], strict=True):
        dots = LEFT[min(4, max(0, left - row * 4))] | RIGHT[min(4, max(0, right - row * 4))]
        cells.append(chr(BLANK + dots) if dots else " ")
    return "".join(cells)
