"""Panels side by side as one SVG with one logarithmic axis: light and dark, with words to be read aloud."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

PANEL, HEIGHT, LEFT, TOP, BOTTOM, GAP = 400, 470, 66, 86, 58, 34
# The picture has a ground of its own, so that it is read on any page; each series has its own shape, too.
STYLE = """
  svg { --ground: #ffffff; --ink: #334155; --pale: #dbe2ea; --thin: #94a3b8; --ours: #dc2626;
        --other: #2563eb }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #0f172a; --ink: #e2e8f0; --pale: #293548; --thin: #64748b; --ours: #f87171;
          --other: #60a5fa }
  }
  text { fill: var(--ink); font: 12px sans-serif }
  .head { font-size: 15px }
  .ground { fill: var(--ground) }
  .grid { stroke: var(--pale) }
  .thin { stroke: var(--thin); opacity: 0.6 }
  .ours { fill: var(--ours); stroke: var(--ours) }
  .other { fill: none; stroke: var(--other); stroke-width: 2 }
  .line { fill: none; stroke-width: 1.2 }
"""

Pair = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points that belong together. `label`: as the legend has it, "" for those that it does not name."""

    label: str
    points: Sequence[Pair]
    style: Literal["ours", "other", "thin"]
    line: bool = False
    marks: bool = True


@dataclass(frozen=True)
class Panel:
    """One plot: its series over an even x axis whose ticks are given with their words."""

    title: str
    series: Sequence[Series]
    ticks: Sequence[tuple[float, str]]
    x_word: str


def chart(title: str, about: str, y_word: str, panels: Sequence[Panel]) -> str:
    """An SVG document; `about` is what a reader who can't see it is told. Every y must be above zero."""
    values = [y for panel in panels for series in panel.series for _, y in series.points]
    low, high = math.log10(min(values)) - 0.1, math.log10(max(values)) + 0.1
    width = LEFT + len(panels) * (PANEL + GAP)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" role="img" '
        f'aria-labelledby="title about">\n<title id="title">{escape(title)}</title>\n'
        f'<desc id="about">{escape(about)}</desc>\n<style>{STYLE}</style>\n'
        f'<rect class="ground" width="{width}" height="{HEIGHT}"/>'
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    body = [
        head,
        _text(width / 2, 24, title, kind="head"),
        f'<g transform="rotate(-90 18 {middle})">{_text(18, middle, y_word)}</g>',
        *_legend(panels, width),
    ]
    for place, panel in enumerate(panels):
        body += _panel(panel, LEFT + place * (PANEL + GAP), (low, high), numbered=place == 0)
    return "\n".join([*body, "</svg>\n"])


def _panel(panel: Panel, left: float, span: Pair, *, numbered: bool) -> Iterator[str]:
    first, last = panel.ticks[0][0], panel.ticks[-1][0]
    bottom = HEIGHT - BOTTOM

    def across(x: float) -> float:
        return round(left + 14 + (x - first) / (last - first) * (PANEL - 28), 1)

    def up(y: float) -> float:
        return round(bottom - (math.log10(y) - span[0]) / (span[1] - span[0]) * (bottom - TOP), 1)

    yield _text(left + PANEL / 2, TOP - 10, panel.title)
    yield _text(left + PANEL / 2, HEIGHT - 14, panel.x_word)
    for value, word in panel.ticks:
        yield f'<line class="grid" x1="{across(value)}" y1="{TOP}" x2="{across(value)}" y2="{bottom}"/>'
        yield _text(across(value), bottom + 18, word)
    for tick in ticks_between(*span):
        yield f'<line class="grid" x1="{left}" y1="{up(tick)}" x2="{left + PANEL}" y2="{up(tick)}"/>'
        if numbered:
            yield _text(left - 8, up(tick) + 4, f"{tick:g}", "end")
    for series in panel.series:
        places = [(across(x), up(y)) for x, y in series.points]
        if series.line:
            path = " ".join(f"{x},{y}" for x, y in places)
            yield f'<polyline class="line {series.style}" points="{path}"/>'
        if series.marks:
            yield from (_mark(series.style, x, y) for x, y in places)


def ticks_between(low: float, high: float) -> list[float]:
    """Powers of ten inside 10^low … 10^high, with 2 and 5 of each where these are few."""
    steps = (1,) if high - low > 2.5 else (1, 2, 5)
    decades = range(math.floor(low), math.ceil(high) + 1)
    found = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in found if low <= math.log10(tick) <= high]


def _legend(panels: Sequence[Panel], width: float) -> Iterator[str]:
    named = {series.label: series for panel in panels for series in panel.series if series.label}
    left = width / 2 - 100 * len(named)
    for place, series in enumerate(named.values()):
        at = left + 200 * place
        if series.line:
            yield f'<line class="line {series.style}" x1="{at}" y1="48" x2="{at + 24}" y2="48"/>'
        if series.marks:
            yield _mark(series.style, at + 12, 48)
        yield _text(at + 32, 52, series.label, "start")


def _mark(style: str, x: float, y: float) -> str:
    if style == "other":
        return f'<rect class="{style}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    return f'<circle class="{style}" cx="{x}" cy="{y}" r="4"/>'


def _text(x: float, y: float, words: str, anchor: str = "middle", kind: str = "") -> str:
    more = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(words)}</text>'
