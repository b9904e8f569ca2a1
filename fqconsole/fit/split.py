"""Layers over several GPUs: whole layers in order, so that the fullest GPU is as empty as it can be.

The embeddings lie on the first GPU, the head on the last; a head that is tied to the embeddings is there
twice when these are two GPUs. Activations and runtime are paid on each.
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


def fits_within(layers: Sequence[int], before: int, after: int, gpus: int, most: int) -> bool:
    """True when the layers (bytes each) go on `gpus` GPUs without any of them holding more than `most`."""
    return _fill(list(accumulate(layers, initial=0)), before, after, gpus, most) is not None


def split_layers(layers: Sequence[int], before: int, after: int, gpus: int) -> tuple[Share, ...]:
    """The split whose fullest GPU holds least. One GPU holds everything; GPUs may stay without layers."""
    sums = list(accumulate(layers, initial=0))
    low, high = 0, sums[-1] + before + after
    while low < high:
        middle = (low + high) // 2
        if _fill(sums, before, after, gpus, middle) is None:
            low = middle + 1
        else:
            high = middle
    cuts = _fill(sums, before, after, gpus, low) or [len(layers)] * gpus
    starts = [0, *cuts[:-1]]
    return tuple(
        Share(start, stop, first=place == 0, last=place == gpus - 1)
        for place, (start, stop) in enumerate(zip(starts, cuts, strict=True))
    )


def _fill(sums: Sequence[int], before: int, after: int, gpus: int, most: int) -> list[int] | None:
    """Where each GPU's layers end when each takes as many as go within `most`; None when that is too few.

    Filling greedily from the left is best: whatever an earlier GPU takes, a later one need not hold.
    """
    if before > most or after > most:
        return None
    cuts: list[int] = []
    begin = 0
    count = len(sums) - 1
    for place in range(gpus):
        room = most - (before if place == 0 else 0) - (after if place == gpus - 1 else 0)
        if room < 0:
            return None
        end = bisect_right(sums, sums[begin] + room) - 1
        if place == gpus - 1:
            if end < count:
                return None
            end = count
        cuts.append(end)
        begin = end
    return cuts
