"""The heat map of a model: a cell a matrix, rows are layers, columns the kinds of matrices.

Two views of the same cells: bits and group (`4s` is 4 bits in groups of 64, `4S` says that it is done), or
the relative error as a digit from 0 to 9 on a logarithmic scale. A colour only says the same again. Where the
layers are more than the lines, they go on in the next block to the right, like columns of a newspaper.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

View = Literal["bits", "error"]
GAP = 1  # cells between two blocks
SIGNS = 2  # cells of what is told of one matrix
WAITING = "·"
NONE = " "
# One letter a group, in its legend beside its number.
GROUP_LETTERS = {None: "c", 256: "d", 128: "h", 64: "s", 32: "t", 16: "x"}
OTHER_GROUP = "o"
KEPT_BITS = 16
LEVELS = 10
# The order in which a layer uses its matrices; others follow as they come.
USUAL_ORDER = (
    "q_proj",
    "k_proj",
    "v_proj",
    "qkv_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "gate_up_proj",
    "down_proj",
)


@dataclass(frozen=True)
class MapCell:
    """One matrix. `error` None: not quantized yet. `bits` None: nothing is decided yet."""

    name: str
    layer: int
    kind: str  # the name behind the layer's number: "self_attn.q_proj"
    bits: int | None = None
    group: int | None = None
    error: float | None = None
    finer: bool = False

    @property
    def done(self) -> bool:
        return self.error is not None


@dataclass(frozen=True)
class Layout:
    """Where cells stand: block b holds rows b·lines … of the layers; all numbers are terminal cells."""

    layers: tuple[int, ...]
    kinds: tuple[str, ...]
    cell: int  # width of one matrix
    label: int  # width of the layer's number with its gap
    lines: int  # rows of layers in a block
    blocks: int

    @property
    def block_width(self) -> int:
        return self.label + self.cell * len(self.kinds)

    def row_of(self, x: int, y: int) -> tuple[int, int] | None:
        """(index of the layer, index of the kind) at a place below the head; None between cells."""
        block, left = divmod(x, self.block_width + GAP)
        column, index = (left - self.label) // self.cell, block * self.lines + y
        if left < self.label or column >= len(self.kinds) or not 0 <= y < self.lines:
            return None
        return (index, column) if block < self.blocks and index < len(self.layers) else None


def layout(cells: Sequence[MapCell], width: int, height: int) -> Layout:
    """As many blocks as show all layers; narrower cells before fewer layers. `height` holds the head, too."""
    layers = tuple(sorted({cell.layer for cell in cells}))
    kinds = tuple(sorted(dict.fromkeys(cell.kind for cell in cells), key=_rank))
    label = len(str(max(layers, default=0))) + 1
    lines = max(1, height - 1)
    for wide in (3, 2):
        block = label + wide * len(kinds)
        blocks = max(1, (width + GAP) // (block + GAP))
        if blocks * lines >= len(layers) or wide == 2:
            break
    blocks = min(blocks, max(1, math.ceil(len(layers) / lines)))
    # Where the layers are too many, blocks get as long as they must, and the rest is reached by scrolling.
    shown = max(1, math.ceil(len(layers) / blocks))
    return Layout(layers, kinds, wide, label, shown, blocks)


def _rank(kind: str) -> int:
    name = kind.rpartition(".")[2]
    return USUAL_ORDER.index(name) if name in USUAL_ORDER else len(USUAL_ORDER)


def glyph(cell: MapCell | None, view: View, low: float, high: float) -> str:
    """Two signs of one matrix."""
    if cell is None:
        return NONE * SIGNS
    if view == "error":
        return (
            WAITING + NONE
            if cell.error is None
            else f"{level(cell.error, low, high)}{'+' if cell.finer else NONE}"
        )
    if cell.bits is None:
        return WAITING + NONE
    if cell.bits == KEPT_BITS:
        return "16"
    return f"{cell.bits}{group_letter(cell.group, done=cell.done)}"


def group_letter(group: int | None, *, done: bool) -> str:
    """A small letter for what is planned, a capital for what is done."""
    letter = GROUP_LETTERS.get(group, OTHER_GROUP)
    return letter.upper() if done else letter


def level(error: float, low: float, high: float) -> int:
    """0 for the least error of the map to 9 for the largest, on a logarithmic scale."""
    if error <= 0 or high <= low or low <= 0:
        return 0
    part = (math.log(error) - math.log(low)) / (math.log(high) - math.log(low))
    return min(LEVELS - 1, max(0, int(part * LEVELS)))


def error_range(cells: Sequence[MapCell]) -> tuple[float, float]:
    """Least and largest error that is known and above zero."""
    known = [cell.error for cell in cells if cell.error is not None and cell.error > 0]
    return (min(known), max(known)) if known else (0.0, 0.0)


def heads(kinds: Sequence[str], cell: int) -> list[str]:
    """The word over each column, as short as the column is wide and different from its neighbours'."""
    words = []
    for kind in kinds:
        name = kind.rpartition(".")[2]
        parts = [part for part in name.split("_") if part and part != "proj"] or [name]
        word = "".join(part[0] for part in parts) if len(parts) > 1 else parts[0]
        words.append(word[: cell - 1].ljust(cell))
    return words


def legend(cells: Sequence[MapCell], view: View, width: int) -> str:
    """What the signs mean, only those that occur, as many as `width` cells hold."""
    return _joined(_phrases(cells, view), width)


def _phrases(cells: Sequence[MapCell], view: View) -> list[str]:
    if view == "error":
        low, high = error_range(cells)
        return [f"0 = {low:.3g}", f"9 = {high:.3g}", "+ finer"] if high else ["errors: 0 least, 9 largest"]
    if all(cell.bits is None for cell in cells):
        return ["bits and group of each matrix"]
    begun = any(cell.done for cell in cells)
    groups = {cell.group for cell in cells if cell.bits is not None and cell.bits != KEPT_BITS}
    words = [
        f"{group_letter(group, done=begun)} {'channel' if group is None else group}"
        for group in sorted(groups, key=lambda group: -(group or 1 << 30))
    ]
    return [*words, *(["16 kept"] if any(cell.bits == KEPT_BITS for cell in cells) else [])]


def _joined(phrases: Sequence[str], width: int) -> str:
    line = ""
    for phrase in phrases:
        longer = f"{line} · {phrase}" if line else phrase
        if len(longer) > width:
            break
        line = longer
    return line


def colour(cell: MapCell, view: View, low: float, high: float) -> str:
    """The name of the component class of a cell: more bits or more error, warmer; finer groups stand out."""
    if view == "error":
        if cell.error is None:
            return "waiting"
        return ("cool", "mild", "warm", "hot")[min(3, level(cell.error, low, high) * 4 // LEVELS)]
    if cell.bits is None:
        return "waiting"
    word = "finer" if cell.finer else {3: "cool", 4: "mild", 8: "warm"}.get(cell.bits, "hot")
    return word if cell.done or cell.bits == KEPT_BITS else f"{word}-planned"


def sentence(cell: MapCell) -> str:
    """One matrix in words: `layer 3 down_proj · int4 groups of 32 · error .0433`."""
    words = [f"layer {cell.layer} {cell.kind.rpartition('.')[2]}"]
    if cell.bits == KEPT_BITS:
        words.append("stays in 16 bits")
    elif cell.bits is not None:
        groups = "channel" if cell.group is None else f"groups of {cell.group}"
        words.append(f"int{cell.bits} {groups}")
    words.append("planned" if cell.error is None else f"error {cell.error:.4f}".replace("0.", "."))
    return " · ".join(words)
