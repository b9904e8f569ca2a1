"""The part of a matrix that one of several GPUs holds: rows, or columns at the boundaries of groups.

y = W x        rows of W give entries of y: nothing is exchanged
y = Σ W_r x_r  columns of W meet the part of x that their own GPU made: the partial y are summed
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fqconsole.models.division import WORD
from kernels import PackedMatrix


@dataclass(frozen=True)
class Cut:
    """Ranges (start, stop) along N, or along K for `columns`, one after the other."""

    ranges: tuple[tuple[int, int], ...]
    columns: bool = False

    @property
    def size(self) -> int:
        """Rows or columns that are left."""
        return sum(stop - start for start, stop in self.ranges)


def cut_tensor(tensor: Tensor, cut: Cut, dim: int) -> Tensor:
    """The ranges of `cut` along `dim`: a view where it is one range, else a copy."""
    parts = [tensor.narrow(dim, start, stop - start) for start, stop in cut.ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def cut_packed(matrix: PackedMatrix, cut: Cut) -> PackedMatrix:
    """Rows or columns of a matrix `[N, K]`, or of each expert of a stack, in contiguous memory.

    Raises ValueError for columns that split a group or a packed word.
    """
    if not cut.columns:
        codes, scales = (cut_tensor(part, cut, -2).contiguous() for part in (matrix.codes, matrix.scales))
        return PackedMatrix(codes, scales, matrix.bits, matrix.group_size, matrix.k)
    for start, stop in cut.ranges:
        whole = start * matrix.bits % WORD == 0 and (stop == matrix.k or stop * matrix.bits % WORD == 0)
        if not whole or (matrix.group_size and (start % matrix.group_size or stop % matrix.group_size)):
            raise ValueError(f"columns {start} to {stop} don't end where groups and words do")
    words = Cut(tuple((a * matrix.bits // WORD, -(-b * matrix.bits // WORD)) for a, b in cut.ranges))
    codes = cut_tensor(matrix.codes, words, -1).contiguous()
    scales = matrix.scales
    if matrix.group_size is not None:
        size = matrix.group_size
        groups = Cut(tuple((start // size, stop // size) for start, stop in cut.ranges))
        scales = cut_tensor(scales, groups, -1)
    return PackedMatrix(codes, scales.contiguous(), matrix.bits, matrix.group_size, cut.size)
