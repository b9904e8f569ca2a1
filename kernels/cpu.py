"""The CPU path: torch's own low-bit operators on weights that were rearranged for them once, at load.

    cpu int4 op   aten._weight_int4pack_mm_for_cpu   (code - 8) * scale + zero, groups of 32, 64, 128 or 256
    cpu int8 op   aten._weight_int8pack_mm           code * scale, one scale a row

Both are fast for bfloat16 activations alone, and only where torch has vector code for them (AVX2, AVX-512);
`benchmarks/cpu_matmul.py` measures them against dequantize-and-matmul, which everything else takes. How our
schemes fit in:

    int4, int3    the int4 operator: a 3-bit code is a 4-bit code that stays in [-4, 3]
    int8 channel  the int8 operator
    int8 groups   the int4 operator with K doubled: code = 16 high + low, so x · code * s
                  = x · high * (16 s) + x · low * s; low counts from 0, which a zero of 8 s restores
    channel, or groups over 256: the scale is repeated over the operator's groups
    groups no multiple of 32, ragged K or N: padded, with codes that meet activations of zero

The 3-bit codes take 4 bits here and groups of 16 are stored as 32; `bytes` says what is held.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from kernels.cpu_blocks import multiply_blocks, outputs_of_block
from kernels.packed_matrix import PackedMatrix
from kernels.prepared import (
    DequantizedMatrix,
    PreparedMatrix,
    multiplied_in,
    multiply_each,
    rows_of_slice,
)

OPERATOR_GROUPS = (256, 128, 64, 32)
SMALLEST_GROUP = 32
OUTPUT_MULTIPLE = 16  # of N, which the int4 operator asks for
INT4_OPERATOR_ROWS = 64  # with more rows (of 8-bit codes half as many) multiply_blocks measured faster
INT8_OPERATOR_ROWS = 24  # with more rows, converting the int8 weights slice by slice measured faster


def has_vector_code() -> bool:
    """Whether torch's low-bit operators run on vector instructions on this machine."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


@dataclass(frozen=True, eq=False)
class Int4OpMatrix(PreparedMatrix):
    """A matrix `[n, k]` as the int4 operator wants it.

    Each group of `group` activations is padded to `padded_group`, and the padded row is repeated `copies`
    times (2 for 8-bit codes). `codes` uint8 in the operator's layout, `block` outputs together where that is
    known; `scales_and_zeros` bfloat16 `[operator's groups, padded N, 2]`.
    """

    codes: Tensor
    scales_and_zeros: Tensor
    operator_group: int
    group: int
    padded_group: int
    copies: int
    block: int | None
    n: int
    k: int
    path: str

    @property
    def bytes(self) -> int:
        return self.codes.nbytes + self.scales_and_zeros.nbytes

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        check_dtype(x)
        if self.block is not None and x.shape[0] > INT4_OPERATOR_ROWS // self.copies:
            # Of 8-bit codes the second half of the scales is as they were given, the first 16 times that.
            repeated = self.padded_group // self.operator_group
            scales = self.scales_and_zeros[..., 0].chunk(self.copies)[-1][::repeated]
            out = multiply_blocks(x, self.codes, scales, self.block, self.copies)
        else:
            if self.padded_group != self.group:
                grouped = pad(x.unflatten(-1, (-1, self.group)), (0, self.padded_group - self.group))
                x = grouped.flatten(-2)
            if self.copies > 1:
                x = torch.cat((x,) * self.copies, -1)
            out = torch.ops.aten._weight_int4pack_mm_for_cpu(
                x.contiguous(), self.codes, self.operator_group, self.scales_and_zeros
            )
        if out.shape[-1] != self.n:
            out = out[:, : self.n]
        return out if bias is None else out + bias

    def multiply_by_expert(self, x: Tensor, expert: Tensor) -> Tensor:
        raise TypeError("one matrix has no experts")


@dataclass(frozen=True, eq=False)
class Int8OpMatrix(PreparedMatrix):
    """A per-channel 8-bit matrix for the int8 operator: int8 `[n, padded k]`, scales bfloat16 `[n]`."""

    codes: Tensor
    scales: Tensor
    n: int
    k: int
    path: str = "cpu int8 op"

    @property
    def bytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        check_dtype(x)
        if self.codes.shape[1] != self.k:
            x = pad(x, (0, self.codes.shape[1] - self.k))
        if x.shape[0] <= INT8_OPERATOR_ROWS:
            out: Tensor = torch.ops.aten._weight_int8pack_mm(x.contiguous(), self.codes, self.scales)
        else:
            wide = x.to(multiplied_in(x.dtype, "cpu"))
            out = wide.new_empty((x.shape[0], self.n))
            parts = self.codes.split(rows_of_slice(self.k, "cpu"))
            for part, place in zip(parts, out.split([len(part) for part in parts], -1), strict=True):
                torch.mm(wide, part.to(wide.dtype).mT, out=place)
            out = out.mul_(self.scales).to(x.dtype)
        return out if bias is None else out + bias

    def multiply_by_expert(self, x: Tensor, expert: Tensor) -> Tensor:
        raise TypeError("one matrix has no experts")


@dataclass(frozen=True, eq=False)
class CpuExperts(PreparedMatrix):
    """A stack of experts, each prepared on its own."""

    matrices: tuple[PreparedMatrix, ...]
    n: int
    k: int
    path: str

    @property
    def bytes(self) -> int:
        return sum(matrix.bytes for matrix in self.matrices)

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        raise TypeError("a stack of experts needs the expert of each row")

    def multiply_by_expert(self, x: Tensor, expert: Tensor) -> Tensor:
        return multiply_each(self.matrices, x, expert, self.n)


def check_dtype(x: Tensor) -> None:
    """The prepared forms are for bfloat16 alone: torch's operators crawl on anything else."""
    if x.dtype != torch.bfloat16:
        raise ValueError(f"this matrix was prepared for bfloat16 activations, not {x.dtype}")


def prepare_for_cpu(w: PackedMatrix, dtype: torch.dtype) -> PreparedMatrix:
    """The fastest form of `w`, already on the CPU, for activations in `dtype`."""
    if w.experts is not None:
        matrices = tuple(prepare_for_cpu(w.expert(e), dtype) for e in range(w.experts))
        return CpuExperts(matrices, w.n, w.k, path_on_cpu(w.bits, dtype))
    group = w.k if w.group_size is None else w.group_size
    padded_group = -(-group // SMALLEST_GROUP) * SMALLEST_GROUP
    per_channel = w.groups == 1
    wasteful = w.bits == 8 and not per_channel and padded_group > group  # would hold 16 bits a weight
    if dtype != torch.bfloat16 or not has_vector_code() or wasteful:
        return DequantizedMatrix(w, path="cpu dequantize")
    if w.bits == 8 and per_channel:
        codes = pad(w.unpack(), (0, padded_group - w.k)).contiguous()
        return Int8OpMatrix(codes, w.scales[:, 0].to(torch.bfloat16).contiguous(), w.n, w.k)
    return prepare_int4(w, group, padded_group)


def prepare_int4(w: PackedMatrix, group: int, padded_group: int) -> Int4OpMatrix:
    """Rearrange `w` for the int4 operator; see the top of this file for how each scheme fits."""
    operator_group = next(size for size in OPERATOR_GROUPS if padded_group % size == 0)
    codes = pad(w.unpack().unflatten(-1, (-1, group)), (0, padded_group - group)).flatten(-2)
    scales = w.scales.repeat_interleave(padded_group // operator_group, -1).float()
    if w.bits == 8:
        stored = torch.cat(((codes >> 4) + 8, codes & 15), -1)
        scales_and_zeros = torch.stack(
            (torch.cat((16 * scales, scales), -1), torch.cat((0 * scales, 8 * scales), -1)), -1
        )
    else:
        stored = codes + 8
        scales_and_zeros = torch.stack((scales, 0 * scales), -1)
    missing = -w.n % OUTPUT_MULTIPLE
    stored = pad(stored, (0, 0, 0, missing))
    scales_and_zeros = pad(scales_and_zeros, (0, 0, 0, 0, 0, missing))
    laid_out = torch.ops.aten._convert_weight_to_int4pack_for_cpu(stored.int(), 1)
    return Int4OpMatrix(
        codes=laid_out,
        scales_and_zeros=scales_and_zeros.transpose(0, 1).to(torch.bfloat16).contiguous(),
        operator_group=operator_group,
        group=group,
        padded_group=padded_group,
        copies=2 if w.bits == 8 else 1,
        block=outputs_of_block(laid_out, stored.to(torch.uint8)),
        n=w.n,
        k=w.k,
        path=path_on_cpu(w.bits, torch.bfloat16),
    )


def path_on_cpu(bits: int, dtype: torch.dtype) -> str:
    """Which matmul runs on the CPU, in words."""
    if dtype != torch.bfloat16 or not has_vector_code():
        return "cpu dequantize"
    return "cpu int8 op" if bits == 8 else "cpu int4 op"
