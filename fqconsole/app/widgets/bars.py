"""Bars and small graphs as plain text: pure functions of numbers and a width in cells."""

from collections.abc import Sequence

LEVELS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉"


def filled(fraction: float, width: int) -> str:
    """A progress bar of `width` cells, exact to an eighth of a cell."""
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    whole, rest = divmod(eighths, 8)
    bar = "█" * whole + (EIGHTHS[rest] if rest else "")
    return bar.ljust(width)


def steps(fraction: float, width: int) -> str:
    """A level bar of `width` cells: high cells up to the fraction, low cells behind it."""
    high = round(min(max(fraction, 0.0), 1.0) * width)
    if fraction > 0.01:
        high = max(high, 1)
    return "▇" * high + "▁" * (width - high)


def level_line(values: Sequence[float | None], width: int, *, top: float) -> str:
    """The last `width` values as levels from 0 to `top`, newest right; what is missing is lowest."""
    shown = list(values)[-width:]
    padded = [*(None for _ in range(width - len(shown))), *shown]
    return "".join(_level(value, top) for value in padded)


def _level(value: float | None, top: float) -> str:
    if value is None or top <= 0:
        return LEVELS[0]
    return LEVELS[min(len(LEVELS) - 1, max(0, int(value / top * (len(LEVELS) - 1) + 0.5)))]
