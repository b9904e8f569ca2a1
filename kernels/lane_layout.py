"""Lane order: packed weights as the lanes of a warp multiply them, and the way there and back.

A matrix [N, K] is cut into tiles of 16 rows and each tile into steps: what one warp multiplies in one go.
A step is PLANES fragments of 16 x 16 codes, each the left operand A of one `mma.m16n8k16`. Lane 4 g + t of
the warp holds of each fragment rows g and 8 + g, and of a row the columns 2 t, 2 t + 1, 8 + 2 t, 8 + 2 t + 1:

                 column  0 1   2 3   4 5   6 7  │  8 9   …
        row g           t=0   t=1   t=2   t=3   │  t=0   …         column = 8 h + 2 t + e     h 0, 1    e 0, 1
              ──────────────  r8 = 0, h = 0  ───┼─── r8 = 0, h = 1         row = 8 r8 + g
        row 8 + g             r8 = 1, h = 0     │    r8 = 1, h = 1         slot = 2 r8 + h

Which k a column stands for is free, as long as the activations agree. Here a lane's columns of PAIR = 2
planes are 8 neighbours, so that a lane reads their activations with one 16-byte load (PAIR = 1: 4 neighbours,
8 bytes, where the group size is no multiple of 32, because a pair of planes must not cross a group):

    k in its step = 16 PAIR (p // PAIR) + 4 PAIR t + 4 (p % PAIR) + 2 h + e

    PAIR = 2   k  0 1 2 3 │ 4 5 6 7 │ 8 …  15 │ 16 …  23 │ 24 …  31 │ 32 …
    lane's t      0         0         1          2          3         0
    plane         0         1         0 0 1 1    0 0 1 1    …         2

Words int32: each has two 16-bit fields, e = 0 below. A field holds one code of each of its planes, as
code + 2^(bits - 1); unpacking a field pair gives a register of the fragment at once:

    bits  PLANES  STEP  WORDS of a step  [slot][lane][word j]             planes in a field of word j
     8       8     128  512              4 words, one 16-byte load        2 j + i at bit 8 i
     4      16     256  512              4 words, one 16-byte load        4 j + i at bit 4 i
     3      16     256  384 = 256 + 128  words 0, 1 of all, then word 2   5 j + i at bit 3 i, i < 5;
                                                                          bit j of plane 15 at bit 15

    4 bits, word j:   | 31..28 27..24 23..20 19..16 | 15..12 11..8  7..4   3..0 |
              plane      4j+3   4j+2   4j+1   4j      4j+3   4j+2   4j+1   4j
                      └──────────  e = 1  ─────────┘└─────────  e = 0  ─────────┘

Rows and columns past the matrix are code 0, so they add nothing whatever activation they meet. Scales are
int32 words too: the scale of row g below, that of row 8 + g above, 0 past the matrix. A group longer than a
step repeats its scale, so that a step brings its own. SG = gcd(group_size, STEP) columns share one:

    groups   [T, S, 8 (g), STEP / SG]        channel   [T, 1, 8, 1], for after the sum
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.packed_matrix import PackedMatrix
from kernels.packing import pack_in_range, unpack_codes

TILE_ROWS = 16
SMALLEST_GROUP = 16  # a plane does not cross a group
DTYPES = (torch.float16, torch.bfloat16)
PLANES = {8: 8, 4: 16, 3: 16}
WORDS = {8: 512, 4: 512, 3: 384}  # int32 words of a step
PAIRS_OF_3_BITS = 256  # words 0 and 1 of every slot and lane stand before the third words
CHUNK = 1 << 22  # codes that are unpacked at a time


@dataclass(frozen=True, eq=False)
class LaneMatrix:
    """Weights `[N, K]`, or experts `[E, N, K]`, in lane order.

    `words` int32 `[T, S, WORDS]` or `[E, T, S, WORDS]`; `scales` int32 `[T, S, 8, SPS]` (channel:
    `[T, 1, 8, 1]`) or with E before, two scales of `dtype` in each. Raises ValueError where the parts do not
    belong together.
    """

    words: Tensor
    scales: Tensor
    bits: int
    group_size: int | None
    n: int
    k: int
    dtype: torch.dtype

    def __post_init__(self) -> None:
        words, scales = lane_shapes(self.bits, self.group_size, self.n, self.k)
        stack = () if self.experts is None else (self.experts,)
        if self.dtype not in DTYPES:
            raise ValueError(f"scales must be float16 or bfloat16, not {self.dtype}")
        for name, tensor, shape in (("words", self.words, words), ("scales", self.scales, scales)):
            if (
                tensor.dtype != torch.int32
                or tuple(tensor.shape) != stack + shape
                or not tensor.is_contiguous()
            ):
                raise ValueError(
                    f"{name} are {tensor.dtype} {list(tensor.shape)}, expected contiguous int32 "
                    f"{list(stack + shape)}"
                )
        if self.words.device != self.scales.device:
            raise ValueError(f"words lie on {self.words.device}, scales on {self.scales.device}")

    @property
    def experts(self) -> int | None:
        """Experts of a stack; None for a matrix."""
        return self.words.shape[0] if self.words.dim() == 4 else None

    @property
    def planes(self) -> int:
        """Fragments of 16 x 16 codes in a step."""
        return PLANES[self.bits]

    @property
    def step(self) -> int:
        """Columns of a step."""
        return step_of(self.bits)

    @property
    def pair(self) -> int:
        """Planes whose activations a lane reads with one load."""
        return pair_of(self.group_size)

    @property
    def tiles(self) -> int:
        """Tiles of 16 rows, of the matrix or of one expert."""
        return self.words.shape[-3]

    @property
    def steps(self) -> int:
        """Steps of one tile."""
        return self.words.shape[-2]

    @property
    def scale_group(self) -> int | None:
        """Columns of a step that share a scale; None for `channel`."""
        return scale_group_of(self.bits, self.group_size)

    @property
    def scales_per_step(self) -> int:
        """Scales of one row in one step; 1 for `channel`."""
        return self.scales.shape[-1]

    @property
    def device(self) -> torch.device:
        return self.words.device

    @property
    def bytes(self) -> int:
        """Bytes held, words and scales."""
        return self.words.nbytes + self.scales.nbytes

    def expert(self, index: int) -> "LaneMatrix":
        """One expert of a stack, as a view."""
        return LaneMatrix(
            self.words[index], self.scales[index], self.bits, self.group_size, self.n, self.k, self.dtype
        )


def step_of(bits: int) -> int:
    """Columns of a step."""
    return 16 * PLANES[bits]


def pair_of(group_size: int | None) -> int:
    """Planes whose columns of a lane are neighbours; two planes are 32 columns, which share a group."""
    return 2 if group_size is None or group_size % 32 == 0 else 1


def scale_group_of(bits: int, group_size: int | None) -> int | None:
    """Columns of a step that share a scale; None for `channel`."""
    return None if group_size is None else math.gcd(group_size, step_of(bits))


def lane_shapes(
    bits: int, group_size: int | None, n: int, k: int
) -> tuple[tuple[int, int, int], tuple[int, int, int, int]]:
    """Shapes of the words and of the scales of a matrix `[n, k]`.

    Raises ValueError for a group size that is not a multiple of 16.
    """
    if group_size is not None and (group_size < SMALLEST_GROUP or group_size % SMALLEST_GROUP):
        raise ValueError(f"lane order takes groups of a multiple of {SMALLEST_GROUP}, not of {group_size}")
    tiles, steps = math.ceil(n / TILE_ROWS), math.ceil(k / step_of(bits))
    shared = scale_group_of(bits, group_size)
    scales = (tiles, 1, 8, 1) if shared is None else (tiles, steps, 8, step_of(bits) // shared)
    return (tiles, steps, WORDS[bits]), scales


def empty_lanes(packed: PackedMatrix, dtype: torch.dtype) -> LaneMatrix:
    """Room for `packed` in lane order on its device, nothing written yet."""
    words, scales = lane_shapes(packed.bits, packed.group_size, packed.n, packed.k)
    stack = packed.rows[:-1]
    return LaneMatrix(
        torch.empty(stack + words, dtype=torch.int32, device=packed.device),
        torch.empty(stack + scales, dtype=torch.int32, device=packed.device),
        packed.bits, packed.group_size, packed.n, packed.k, dtype,
    )  # fmt: skip


def empty_packed(lanes: LaneMatrix) -> PackedMatrix:
    """Room for `lanes` in the checkpoint's packing on its device, nothing written yet."""
    stack = lanes.words.shape[:-3]
    words = math.ceil(lanes.k * lanes.bits / 32)
    groups = 1 if lanes.group_size is None else lanes.k // lanes.group_size
    return PackedMatrix(
        torch.empty((*stack, lanes.n, words), dtype=torch.int32, device=lanes.device),
        torch.empty((*stack, lanes.n, groups), dtype=lanes.dtype, device=lanes.device),
        lanes.bits, lanes.group_size, lanes.k,
    )  # fmt: skip


def to_lanes(packed: PackedMatrix, dtype: torch.dtype) -> LaneMatrix:
    """`packed` in lane order with scales of `dtype` (float16 or bfloat16), on any device.

    The plain form; on a GPU `kernels.repack` does the same at memory speed. Raises ValueError for a group
    size that is not a multiple of 16.
    """
    lanes = empty_lanes(packed, dtype)
    k = packed.k
    padded_k = lanes.steps * lanes.step
    codes = as_stack(packed.codes, 2)
    words = as_stack(lanes.words, 3)
    for expert, first, last in _chunks(words.shape[0], lanes.tiles, padded_k):
        rows = codes[expert, TILE_ROWS * first : TILE_ROWS * last]
        chunk = torch.zeros(((last - first) * TILE_ROWS, padded_k), dtype=torch.int8, device=packed.device)
        chunk[: rows.shape[0], :k] = unpack_codes(rows, packed.bits, k)
        words[expert, first:last] = _words_of(_planes_of(chunk, lanes), packed.bits)
    as_stack(lanes.scales, 4).copy_(lane_scales(as_stack(packed.scales, 2).to(dtype), lanes))
    return lanes


def from_lanes(lanes: LaneMatrix) -> PackedMatrix:
    """The checkpoint's packing again, bit for bit; the scales in `lanes.dtype`."""
    packed = empty_packed(lanes)
    codes = as_stack(packed.codes, 2)
    words = as_stack(lanes.words, 3)
    for expert, first, last in _chunks(words.shape[0], lanes.tiles, lanes.steps * lanes.step):
        rows = codes[expert, TILE_ROWS * first : TILE_ROWS * last]
        chunk = _rows_of(_codes_of(words[expert, first:last], lanes.bits), lanes)
        rows.copy_(pack_in_range(chunk[: rows.shape[0], : lanes.k], lanes.bits))
    as_stack(packed.scales, 2).copy_(packed_scales(as_stack(lanes.scales, 4), lanes))
    return packed


def as_stack(tensor: Tensor, dimensions: int) -> Tensor:
    """A matrix as a stack of one; `dimensions` are those of a matrix."""
    return tensor if tensor.dim() > dimensions else tensor[None]


def _chunks(experts: int, tiles: int, padded_k: int) -> Iterator[tuple[int, int, int]]:
    """(expert, first tile, last tile) of pieces of about `CHUNK` codes, which bound the memory in between."""
    count = max(1, CHUNK // (TILE_ROWS * max(1, padded_k)))
    for expert in range(experts):
        for first in range(0, tiles, count):
            yield expert, first, min(first + count, tiles)


def _planes_of(codes: Tensor, lanes: LaneMatrix) -> Tensor:
    """int8 codes `[16 T, S * STEP]` → stored int32 `[T, S, slot 4, lane 32, plane, e 2]`."""
    pair = lanes.pair
    shape = (-1, 2, 8, lanes.steps, lanes.planes // pair, 4, pair, 2, 2)  # T, r8, g, S, q, t, b, h, e
    parts = codes.view(shape).permute(0, 3, 1, 7, 2, 5, 4, 6, 8)  # T, S, r8, h, g, t, q, b, e
    stored = parts.to(torch.int32) + (1 << (lanes.bits - 1))
    return stored.reshape(-1, lanes.steps, 4, 32, lanes.planes, 2)


def _rows_of(stored: Tensor, lanes: LaneMatrix) -> Tensor:
    """The inverse of `_planes_of`: int8 codes `[16 T, S * STEP]`."""
    pair = lanes.pair
    shape = (-1, lanes.steps, 2, 2, 8, 4, lanes.planes // pair, pair, 2)  # T, S, r8, h, g, t, q, b, e
    codes = (stored - (1 << (lanes.bits - 1))).to(torch.int8)
    parts: Tensor = codes.reshape(shape).permute(0, 2, 4, 1, 6, 5, 7, 3, 8)
    return parts.reshape(-1, lanes.steps * lanes.step)


def _words_of(stored: Tensor, bits: int) -> Tensor:
    """Stored codes `[T, S, 4, 32, plane, e]` → words `[T, S, WORDS]`."""
    tiles, steps = stored.shape[:2]
    last, count = stored[..., 15:, :], 16 // bits  # planes in a field
    if bits == 3:
        stored = stored[..., :15, :]
    place = torch.arange(count, device=stored.device, dtype=torch.int32)[:, None] * bits
    fields = (stored.unflatten(-2, (-1, count)) << place).sum(-2, dtype=torch.int32)  # [T, S, 4, 32, j, e]
    if bits == 3:
        j = torch.arange(3, device=stored.device, dtype=torch.int32)[:, None]
        fields |= ((last >> j) & 1) << 15
    # e = 0 is the lower half of a word on a little-endian machine.
    words: Tensor = fields.to(torch.int16).view(torch.int32).squeeze(-1)
    if bits != 3:
        return words.reshape(tiles, steps, -1)
    return torch.cat((words[..., :2].flatten(2), words[..., 2].flatten(2)), -1)


def _codes_of(words: Tensor, bits: int) -> Tensor:
    """Words `[T, S, WORDS]` → stored codes `[T, S, 4, 32, plane, e]`; the inverse of `_words_of`."""
    shape = (*words.shape[:2], 4, 32)
    if bits == 3:
        pairs, third = words[..., :PAIRS_OF_3_BITS], words[..., PAIRS_OF_3_BITS:]
        words = torch.cat([pairs.reshape(*shape, 2), third.reshape(*shape, 1)], -1)
    else:
        words = words.reshape(*shape, 4)
    fields = words.contiguous().view(torch.int16).unflatten(-1, (-1, 1, 2)).to(torch.int32)  # j, 1, e
    count = 16 // bits
    place = torch.arange(count, device=words.device, dtype=torch.int32)[:, None] * bits
    stored: Tensor = ((fields >> place) & ((1 << bits) - 1)).flatten(-3, -2)
    if bits != 3:
        return stored
    j = torch.arange(3, device=words.device, dtype=torch.int32)[:, None, None]
    last = (((fields >> 15) & 1) << j).sum(-3, dtype=torch.int32)
    return torch.cat([stored, last], -2)


def lane_scales(scales: Tensor, lanes: LaneMatrix) -> Tensor:
    """16-bit scales `[E, N, G]` → words `[E, T, S, 8, SPS]`, of a place past the matrix 0."""
    experts, n, _ = scales.shape
    shared = lanes.scale_group
    if lanes.group_size is not None and shared is not None:
        scales = scales.repeat_interleave(lanes.group_size // shared, -1)
    steps = 1 if shared is None else lanes.steps
    padded = scales.new_zeros((experts, lanes.tiles * TILE_ROWS, steps * lanes.scales_per_step))
    padded[:, :n, : scales.shape[-1]] = scales
    parts = padded.view(experts, lanes.tiles, 2, 8, steps, lanes.scales_per_step)  # E, T, r8, g, S, i
    return parts.permute(0, 1, 4, 3, 5, 2).contiguous().view(torch.int32).squeeze(-1)


def packed_scales(words: Tensor, lanes: LaneMatrix) -> Tensor:
    """The inverse of `lane_scales`: `[E, N, G]`."""
    halves = words[..., None].view(lanes.dtype)  # E, T, S, g, i, r8
    rows = halves.permute(0, 1, 5, 3, 2, 4).reshape(words.shape[0], lanes.tiles * TILE_ROWS, -1)[:, : lanes.n]
    if lanes.group_size is None or lanes.scale_group is None:
        return rows
    return rows[..., : lanes.k // lanes.scale_group : lanes.group_size // lanes.scale_group]
