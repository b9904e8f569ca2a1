"""The last gate before the terminal: no control character leaves in a line, whoever forgot about it."""

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from fqconsole.app.visible_text import DANGEROUS


class ControlFilter(LineFilter):
    """What Textual passes every line of every widget through; the line stays as wide as it was."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments with their styles, without what a terminal would obey."""
        if all(segment.text.isprintable() for segment in segments):
            return segments
        return [
            segment if segment.control else Segment(_harmless(segment.text), segment.style)
            for segment in segments
        ]


def _harmless(text: str) -> str:
    """Most control characters take no cell: they go. Half a character takes one."""
    return DANGEROUS.sub(lambda match: "�" * cell_len(match[0]), text).replace("\t", " ").replace("\n", " ")
