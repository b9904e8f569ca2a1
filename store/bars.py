"""Bars as inline SVG: each is labelled with its number, so nothing is said by colour or length alone."""

from collections.abc import Sequence
from html import escape

WIDTH = 640  # units of the drawing; it scales with the page
LABEL = 150
NUMBER = 150
ROW = 22


def bar_chart(title: str, bars: Sequence[tuple[str, float | None, str]], *, marked: str = "") -> str:
    """One bar for each (label, value, text), from zero; the bar labelled `marked` is drawn hollow."""
    most = max((value for _, value, _ in bars if value is not None), default=0.0)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {ROW * len(bars)}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    for place, (label, value, text) in enumerate(bars):
        top = place * ROW
        length = 0.0 if value is None or most <= 0 else max(0.0, value) / most * (WIDTH - LABEL - NUMBER)
        style = "bar hollow" if label == marked else "bar"
        parts += [
            f'<text class="label" x="{LABEL - 8}" y="{top + 15}">{escape(label)}</text>',
            f'<rect class="{style}" x="{LABEL}" y="{top + 4}" width="{length:.1f}" height="{ROW - 8}"/>',
            f'<text x="{LABEL + length + 8:.1f}" y="{top + 15}">{escape(text)}</text>',
        ]
    return "".join([*parts, "</svg>"])
