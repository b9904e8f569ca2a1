"""Layers over several GPUs: whole layers in order, so that the fullest GPU is as empty as it can be.

Every GPU gets at least one, unless there are more GPUs than layers: then the last of those that have layers
stay empty.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple


class Share(NamedTuple):
    """What one GPU holds: layers `start` to `stop`, and whether it is the first and the last."""

    start: int
    stop: int
    first: bool
    last: bool

    @property
    def used(self) -> bool:
        """False where the GPU has nothing to do."""
        return self.stop > self.start or self.first or self.last


def fits_within(layers: Sequence[int], before: int, after: int, rooms: Sequence[int]) -> bool:
    """True when the layers (bytes each) go on GPUs with `rooms` bytes each, in this order."""
    return _fill(list(accumulate(layers, initial=0)), before, after, rooms) is not None


def split_layers(layers: Sequence[int], before: int, after: int, rooms: Sequence[int]) -> tuple[Share, ...]:
    """The split that leaves most on the GPU with least left (of equal GPUs: whose fullest holds least).

    One GPU holds everything.
    """
    sums = list(accumulate(layers, initial=0))
    largest = max(rooms)
    short = [largest - room for room in rooms]

    def filled(most: int) -> list[int] | None:
        return _fill(sums, before, after, [most - less for less in short])

    low, high = 0, sums[-1] + before + after + max(short)
    while low < high:
        middle = (low + high) // 2
        if filled(middle) is None:
            low = middle + 1
        else:
            high = middle
    cuts = filled(low) or [min(place + 1, len(layers)) for place in range(len(rooms) - 1)] + [len(layers)]
    starts = [0, *cuts[:-1]]
    return tuple(
        Share(start, stop, first=place == 0, last=place == len(rooms) - 1)
        for place, (start, stop) in enumerate(zip(starts, cuts, strict=True))
    )


def _fill(sums: Sequence[int], before: int, after: int, rooms: Sequence[int]) -> list[int] | None:
    """Where each GPU's layers end when each takes as many as go into its room; None when that is too few.

    Filling greedily from the left is best: whatever an earlier GPU takes, a later one need not hold. Each has
    to take one and to leave one for each that follows, where there are so many.
    """
    cuts: list[int] = []
    begin = 0
    count = len(sums) - 1
    last = len(rooms) - 1
    for place, whole in enumerate(rooms):
        room = whole - (before if place == 0 else 0) - (after if place == last else 0)
        least = min(begin + 1, count) if count > last else begin
        most = count - (last - place) if count > last else count
        end = min(most, bisect_right(sums, sums[begin] + room) - 1) if room >= 0 else begin
        if place == last:
            end = count if end >= count else begin
        if (room < 0 and place in (0, last)) or end < least or (place == last and end < count):
            return None
        cuts.append(end)
        begin = end
    return cuts
