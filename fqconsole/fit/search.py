"""The largest number that goes."""

from collections.abc import Callable


def largest(limit: int, goes: Callable[[int], bool]) -> int:
    """The largest of 1 to `limit` for which `goes` holds, 0 if for none; it holds up to some number."""
    if not goes(1):
        return 0
    if goes(limit):
        return limit
    low, high = 1, limit  # goes(low) holds, goes(high) does not
    while high - low > 1:
        middle = (low + high) // 2
        if goes(middle):
            low = middle
        else:
            high = middle
    return low
