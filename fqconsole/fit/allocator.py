"""What torch's CUDA allocator takes of a GPU for tensors: its rules, followed in numbers.

A tensor's bytes, rounded up to 512, are a block of a segment that the driver gave:

    up to 1 MiB     blocks of segments of 2 MiB
    below 10 MiB    blocks of segments of 20 MiB
    from 10 MiB on  a segment of its own, rounded up to 2 MiB

A free block goes before a new segment, the smallest that is large enough first. What is left of it stays
free, unless that is 1 MiB or less (of small blocks: less than 512 bytes): then it belongs to the tensor. Free
neighbours become one block. `release`, torch.cuda.empty_cache, gives back the segments that are wholly free.

These are round_size, get_allocation_size, get_free_block and should_split of CUDACachingAllocator.cpp in
c10/cuda with its default settings, and the constants of c10/core/AllocatorConfig.h (torch 2.11 to 2.13).
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

MIB = 1 << 20
ROUND = 512  # kMinBlockSize
SMALL, SMALL_SEGMENT = 1 * MIB, 2 * MIB  # kSmallSize, kSmallBuffer
MIDDLE, SEGMENT = 10 * MIB, 20 * MIB  # kMinLargeAlloc, large_segment_size
WHOLE = 2 * MIB  # kRoundLarge


def up(count: int, multiple: int) -> int:
    """`count`, rounded up."""
    return -(-count // multiple) * multiple


def segment_bytes(size: int) -> int:
    """The segment that is asked for where no free block is large enough for `size`."""
    if size <= SMALL:
        return SMALL_SEGMENT
    return SEGMENT if size < MIDDLE else up(size, WHOLE)


def reserved(size: int, count: int) -> int:
    """What `count` tensors of `size` bytes take that are there together and lie beside no others."""
    size = up(size, ROUND)
    segment = segment_bytes(size)
    return -(-count // (segment // size)) * segment


def reserved_mixed(sizes: Iterable[int]) -> int:
    """What tensors of several sizes take that fill the segments of their kind to the end."""
    small = middle = large = 0
    for size in (up(size, ROUND) for size in sizes):
        if size <= SMALL:
            small += size
        elif size < MIDDLE:
            middle += size
        else:
            large += up(size, WHOLE)
    return up(small, SMALL_SEGMENT) + up(middle, SEGMENT) + large


NOTHING = -1


class Allocator:
    """Follows what is taken and given back, in order. `reserved` bytes are the driver's, `allocated` those of
    the tensors' blocks.

    A block is a number; what is known of it stands in lists.
    """

    def __init__(self) -> None:
        self.reserved = self.allocated = 0
        self._size: list[int] = []
        self._small: list[bool] = []
        self._is_free: list[bool] = []
        self._before: list[int] = []  # the neighbours in its segment
        self._after: list[int] = []
        self._free: dict[bool, list[tuple[int, int]]] = {True: [], False: []}  # sizes and numbers, in order

    def take(self, size: int) -> int:
        """The block of a tensor of `size` bytes."""
        size = up(max(1, size), ROUND)
        small = size <= SMALL
        free = self._free[small]
        place = bisect_left(free, (size, 0))
        if place < len(free):
            block = free.pop(place)[1]
            self._is_free[block] = False
        else:
            block = self._made(segment_bytes(size), NOTHING, NOTHING, small=small)
            self.reserved += self._size[block]
        left = self._size[block] - size
        if left >= ROUND if small else left > SMALL:
            after = self._after[block]
            rest = self._made(left, block, after, small=small)
            self._size[block] = size
            self._after[block] = rest
            if after != NOTHING:
                self._before[after] = rest
            self._put(rest)
        self.allocated += self._size[block]
        return block

    def give(self, block: int) -> None:
        """The tensor in `block` is gone."""
        self.allocated -= self._size[block]
        after, before = self._after[block], self._before[block]
        if after != NOTHING and self._is_free[after]:
            self._join(block, after)
        if before != NOTHING and self._is_free[before]:
            self._remove(before)
            self._join(before, block)
            block = before
        self._put(block)

    def release(self) -> None:
        """Segments without a tensor go back to the driver."""
        for small, free in self._free.items():
            parts = [one for one in free if {self._before[one[1]], self._after[one[1]]} != {NOTHING}]
            self.reserved -= sum(size for size, _ in free) - sum(size for size, _ in parts)
            self._free[small] = parts

    def _made(self, size: int, before: int, after: int, *, small: bool) -> int:
        self._size.append(size)
        self._small.append(small)
        self._is_free.append(False)
        self._before.append(before)
        self._after.append(after)
        return len(self._size) - 1

    def _put(self, block: int) -> None:
        self._is_free[block] = True
        insort(self._free[self._small[block]], (self._size[block], block))

    def _remove(self, block: int) -> None:
        free = self._free[self._small[block]]
        del free[bisect_left(free, (self._size[block], block))]

    def _join(self, first: int, second: int) -> None:
        """`second` becomes a part of `first`; it is no free block of its own any more."""
        if self._is_free[second]:
            self._remove(second)
        self._size[first] += self._size[second]
        self._after[first] = after = self._after[second]
        if after != NOTHING:
            self._before[after] = first
