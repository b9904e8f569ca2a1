"""`--ascii`: each line on its way to the terminal loses lines, blocks, braille and signs; other text stays.

A screen reader reads `╭─╮` aloud, and not every terminal font has `⣷`. Every sign becomes one character, so
that no layout changes; text in other scripts, which is the operator's own, is left alone.
"""

from collections.abc import Iterator

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

RETURN, ENTER = "⏎", "Enter"
BORDER = "│┃"

SIGNS = {
    "✓": "+", "✗": "x", "●": "*", "◆": "#", "○": "o", "◇": "o", "◂": "<", "▸": ">", "▴": "^", "▾": "v",
    "▶": ">", "◀": "<", "▲": "^", "▼": "v", "←": "<", "→": ">", "↑": "^", "↓": "v", "⏎": "<", "↵": "<",
    "·": "-", "•": "*", "…": "~", "—": "-", "–": "-", "−": "-", "×": "x", "±": "~", "≤": "<", "≥": ">",
    "≈": "~", "°": " ", "‖": "|", "Ŵ": "W", "µ": "u", "²": "2", "“": '"', "”": '"', "‘": "'", "’": "'",
    "⌄": "v", "⚠": "!", "★": "*", "☆": "*", "█": "#", "▀": "^", "▌": ">", "▐": "|", "░": ".", "▒": ":",
    "▓": "%", "■": "#", "□": "o", "▪": "*", "␛": "?", "␡": "?", "�": "?", "½": "~", "Δ": "d", "σ": "s",
    "⟦": "[", "⟧": "]",
    "├": "+", "↻": "@", "⇥": ">", "✔": "+", "🮇": "|", "🮂": "-", "\u00a0": " ",
}  # fmt: skip
LOWER_BLOCKS = "_..-=+*#"  # ▁ to █
LEFT_BLOCKS = "|||>>##"  # ▏ to ▉, narrow to wide
BRAILLE, BRAILLE_END = 0x2800, 0x2900
DENSITY = " ..::||##"  # a cell of braille by its number of dots


def _table() -> dict[int, str]:
    """One ASCII character for each sign that the console draws with."""
    table = dict.fromkeys(range(0x2500, 0x2580), "+")  # corners and crossings of lines
    table |= dict.fromkeys(map(ord, "─━┄┅┈┉═"), "-")
    table |= dict.fromkeys(map(ord, "│┃┆┇┊┋║"), "|")
    table |= {0x2581 + step: sign for step, sign in enumerate(LOWER_BLOCKS)}
    table |= {0x258F - step: sign for step, sign in enumerate(LEFT_BLOCKS)}
    table |= dict.fromkeys(range(0x2594, 0x25A0), "#")
    table |= {code: DENSITY[(code - BRAILLE).bit_count()] for code in range(BRAILLE, BRAILLE_END)}
    table |= {ord(sign): plain for sign, plain in SIGNS.items()}
    return table


TABLE = _table()


def in_ascii(text: str) -> str:
    """The text with our own signs as ASCII, as wide as before."""
    return text if text.isascii() else text.translate(TABLE)


class AsciiFilter(LineFilter):
    """What Textual passes every line of every widget through."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments with their styles, as wide as before."""
        if all(segment.text.isascii() for segment in segments):
            return segments
        if any(RETURN in segment.text for segment in segments):
            segments = _spelled_out(segments)
        return [Segment(in_ascii(text), style, control) for text, style, control in segments]


def _spelled_out(segments: list[Segment]) -> list[Segment]:
    """⏎ as the word where the end of the line has room for it: `Press Enter to start.`"""
    room = _blanks_at_the_end(segments)
    longer = len(ENTER) - len(RETURN)
    spelled, taken = [], 0
    for text, style, control in segments:
        while RETURN in text and room - taken > longer:
            text = text.replace(RETURN, ENTER, 1)  # noqa: PLW2901 - the text of this segment, so far
            taken += longer
        spelled.append(Segment(text, style, control))
    return list(_shortened(spelled, taken))


def _blanks_at_the_end(segments: list[Segment]) -> int:
    """How many spaces stand before the last sign of a border, or before the end."""
    line = "".join(segment.text for segment in segments).rstrip(BORDER)
    return len(line) - len(line.rstrip(" "))


def _shortened(segments: list[Segment], taken: int) -> Iterator[Segment]:
    """Without `taken` of the blanks at the end."""
    kept: list[Segment] = []
    for segment in reversed(segments):
        text = segment.text
        inner = text.rstrip(BORDER)
        fewer = min(taken, len(inner) - len(inner.rstrip(" ")))
        text = inner[: len(inner) - fewer] + text[len(inner) :]
        taken -= fewer
        kept.append(Segment(text, segment.style, segment.control))
    return reversed(kept)
