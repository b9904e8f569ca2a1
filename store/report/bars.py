"""Bars as inline SVG: each is labelled with its number, so nothing is said by colour or length alone."""

from collections.abc import Sequence

import msgspec

from store.report.escaping import escape

WIDTH = 640  # units of the drawing; it scales with the page
LABEL = 150
NUMBER = 170
ROW = 22
LONGEST_LABEL = 21  # letters; the end of a name tells more than its beginning


class Bar(msgspec.Struct, frozen=True):
    """One bar from zero; None is not known. `spread` is drawn as a whisker to both sides."""

    label: str
    value: float | None
    text: str
    spread: float | None = None
    hollow: bool = False


def bar_chart(title: str, bars: Sequence[Bar]) -> str:
    """The bars below each other on one scale."""
    most = max((bar.value + (bar.spread or 0.0) for bar in bars if bar.value is not None), default=0.0)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {ROW * len(bars)}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    room = WIDTH - LABEL - NUMBER
    for place, bar in enumerate(bars):
        top, middle = place * ROW, place * ROW + ROW / 2
        scale = room / most if most > 0 else 0.0
        length = max(0.0, bar.value or 0.0) * scale
        style = "bar hollow" if bar.hollow else "bar"
        parts += [
            f'<text class="label" x="{LABEL - 8}" y="{top + 15}">{escape(_short(bar.label))}</text>',
            f'<rect class="{style}" x="{LABEL}" y="{top + 4}" width="{length:.1f}" height="{ROW - 8}"/>',
        ]
        end = length
        if bar.spread is not None and bar.value is not None:
            left, end = max(0.0, length - bar.spread * scale), length + bar.spread * scale
            parts.append(
                f'<path class="whisker" d="M{LABEL + left:.1f} {middle}H{LABEL + end:.1f}'
                f'M{LABEL + left:.1f} {middle - 4}v8M{LABEL + end:.1f} {middle - 4}v8"/>'
            )
        parts.append(f'<text x="{LABEL + end + 8:.1f}" y="{top + 15}">{escape(bar.text)}</text>')
    return "".join([*parts, "</svg>"])


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else "…" + label[1 - LONGEST_LABEL :]
