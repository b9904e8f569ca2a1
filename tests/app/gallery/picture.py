"""What stands on the screen, as text: characters, the style of each cell, its colours in every theme."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

from rich.cells import get_character_cell_size
from rich.style import Style
from textual.app import App

MARKS = ("bold", "dim", "italic", "underline", "strike", "reverse")
Cells = list[list[tuple[str, str]]]  # rows of (character, style); a wide character's second cell holds ""


def cells(app: App[None]) -> Cells:
    """What a person would see now, dialogs over the screen below them."""
    update = app.screen._compositor.render_update(full=True, screen_stack=app._background_screens)
    rows: Cells = []
    for strips in update.strips:  # type: ignore[union-attr]
        row: list[tuple[str, str]] = []
        for segment in (segment for strip in strips for segment in strip):
            style = segment.style or Style()
            blank, inked = _word(style, False), _word(style, True)
            for letter in segment.text:
                word = blank if letter == " " else inked
                width = get_character_cell_size(letter)
                if width:
                    row += [(letter, word), *[("", word)] * (width - 1)]
                elif row:  # a combining mark belongs to the letter before it
                    row[-1] = (row[-1][0] + letter, row[-1][1])
        rows.append(row)
    return rows


@lru_cache(maxsize=4096)
def _word(style: Style, inked: bool) -> str:
    """`#ffffff on #000000 bold`; the foreground of a blank is seen by nobody."""
    marks = [name for name in MARKS if getattr(style, name)]
    seen = inked or "underline" in marks or "reverse" in marks
    return " ".join([_colour(style.color) if seen else "-", "on", _colour(style.bgcolor), *marks * seen])


def _colour(color: object) -> str:
    triplet = getattr(color, "triplet", None)
    return triplet.hex if triplet else str(getattr(color, "name", "-"))


def written(size: tuple[int, int], themes: Sequence[str], shown: Sequence[Cells]) -> str:
    """One size of a state: its text, then `count style` for the cells of each line, then what the styles are.

    The text is the same in every theme; where it is not, the state is not one picture.
    """
    texts = ["\n".join("".join(letter for letter, _style in row).rstrip() for row in rows) for rows in shown]
    assert all(text == texts[0] for text in texts), f"the themes {themes} show different words"
    names: dict[tuple[str, ...], str] = {}
    lines = []
    for rows in zip(*shown, strict=True):
        styles = zip(*([style for _letter, style in row] for row in rows), strict=True)
        runs = [(len(list(run)), style) for style, run in groupby(styles)]
        lines.append(
            " ".join(f"{count}{names.setdefault(style, _name(len(names)))}" for count, style in runs)
        )
    legend = [f"{name}  {'  |  '.join(style)}" for style, name in names.items()]
    head = f"== {size[0]}x{size[1]}"
    painted = [f"{len(list(run))}× {line}" for line, run in groupby(lines)]
    return "\n".join([head, texts[0], f"-- {' | '.join(themes)}", *legend, *painted, ""])


def _name(number: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return letters[number] if number < 26 else letters[number // 26 - 1] + letters[number % 26]
