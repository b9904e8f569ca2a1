"""How much of each GPU fits on the screen: graphs, a card of three lines, or one line."""

from typing import Literal, NamedTuple

Look = Literal["graphs", "card", "line"]
CARD = 40  # cells that a card needs across
AROUND = 2  # header and footer; this screen needs no strip
OTHERS = 10  # lines of processes and events at 24 lines, and two fifths of what is more
LEAST_GRAPHS, LEAST_CARD = 8, 5  # lines of a card, its border included
MOST = 14  # lines beyond which a graph tells no more


class GpuLayout(NamedTuple):
    """`height` lines each, in `columns` beside each other."""

    look: Look
    columns: int
    height: int


def gpu_layout(count: int, width: int, height: int) -> GpuLayout:
    """What `count` GPUs look like on a screen of `width` by `height` cells."""
    room = height - AROUND - max(OTHERS, height * 2 // 5)
    columns = max(1, min(count, width // CARD))
    lines = room // -(-max(1, count) // columns)
    if lines >= LEAST_GRAPHS:
        return GpuLayout("graphs", columns, min(lines, MOST))
    if lines >= LEAST_CARD:
        return GpuLayout("card", columns, LEAST_CARD)
    return GpuLayout("line", 1, 1)
