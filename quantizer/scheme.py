"""A scheme: how one matrix is stored. Pure arithmetic on shapes, for the preview, the plan and the writer."""

import math
from collections.abc import Sequence

import msgspec

BITS = (8, 4, 3)
WIDTHS = (3, 4, 8, 16)  # what the planner may give a matrix; 16: it stays as it is
WORD_BITS = 32
SCALE_BYTES = 2  # scales are stored in the checkpoint's 16-bit dtype


class Scheme(msgspec.Struct, frozen=True):
    """Symmetric, group-wise along K. `group_size` None is `channel`: all of K shares one scale."""

    bits: int
    group_size: int | None

    @property
    def group_word(self) -> str:
        return group_word(self.group_size)

    def groups(self, k: int) -> int:
        """Scales per row of length `k`.

        Raises ValueError where the group does not divide K: the container has no tail group.
        """
        if self.group_size is None:
            return 1
        if k % self.group_size:
            raise ValueError(f"group size {self.group_size} does not divide K={k}")
        return k // self.group_size


def group_word(group_size: int | None) -> str:
    """`channel` or the number, as the operator reads it."""
    return "channel" if group_size is None else str(group_size)


def widths_word(widths: Sequence[int]) -> str:
    """ "4,8,16", as it is typed."""
    return ",".join(map(str, widths))


def words_per_row(k: int, bits: int) -> int:
    """32-bit words that hold `k` codes of `bits` bits, densely packed, each row padded to a whole word."""
    return math.ceil(k * bits / WORD_BITS)


def stored_bytes(shape: tuple[int, ...], scheme: Scheme) -> int:
    """Bytes of codes plus scales of a matrix `[N, K]` or a stack `[E, N, K]`."""
    rows = math.prod(shape[:-1])
    k = shape[-1]
    return rows * (words_per_row(k, scheme.bits) * WORD_BITS // 8 + scheme.groups(k) * SCALE_BYTES)


def bits_per_weight(shape: tuple[int, ...], scheme: Scheme) -> float:
    """Stored bits over weights, scales and padding included."""
    return stored_bytes(shape, scheme) * 8 / math.prod(shape)
