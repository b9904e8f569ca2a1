# ruff: noqa: PLR0917 — a launch is made for as many kinds of things
"""What launches decode attention: tiles and parts for the shapes at hand, and memory for the parts."""

from functools import cache

import torch
import triton
from torch import Tensor

from kernels.attention_kernel import NO_WINDOW, attend_kernel, factors, padded
from kernels.attention_merge import MERGE_COLUMNS, merge_launch
from kernels.attention_tiles import (
    MERGED_BYTES,
    MOST_PARTS,
    AttentionTile,
    choose_attention_tile,
    parts_of,
)
from kernels.key_values import KeyValueCache
from kernels.launch import Launch
from kernels.step_launch import gpu_here, kinds, on, step_constants, step_options
from kernels.tiles import Gpu

MERGED_AT_ONCE = 32  # float32 a thread, of parts


@cache
def attend_launch(
    gpu: Gpu, kv_heads: int, group: int, head_dim: int, value_dim: int, latent: bool, coded: bool,
    softcap: bool, sinks: bool, split: str, tile: AttentionTile, turn: bool = False,
) -> Launch:  # fmt: skip
    """The launch for one kind of cache and call."""
    value = padded(value_dim)
    rows = rows_of(group)
    merged = min(rows, int(triton.next_power_of_2(group)))
    chunk = max(1, min(MOST_PARTS, MERGED_AT_ONCE * 32 * tile.warps // (merged * value)))
    constants = {
        "KV_HEADS": kv_heads, "GROUP": group, "D": head_dim, "DV": value_dim,
        "MAIN": value if latent else padded(head_dim),
        "TAIL": padded(head_dim - value_dim) if latent else 0, "VALUE": value, "HEADS": rows,
        "BLOCK": tile.block, "TEAMS": tile.warps if tile.apart else 1, "SPAN": tile.span,
        "SPLIT": split, "ROWS": merged, "CHUNK": chunk, "TURN": turn, "CODED": coded,
        "SOFTCAP": softcap, "SINKS": sinks,
    }  # fmt: skip
    options = step_options(gpu, tile.warps, tile.stages)
    return Launch(attend_kernel, constants | step_constants(gpu), options)


def rows_of(group: int) -> int:
    """Query heads of a program."""
    return 16 if group <= 16 else 32


def tile_for(gpu: Gpu, group: int, head_dim: int, value_dim: int, latent: bool, width: int) -> AttentionTile:
    """The tile that these shapes take."""
    value = padded(value_dim)
    main = value if latent else padded(head_dim)
    return choose_attention_tile(rows_of(group), main, value, width, latent=latent, gpu=gpu)


def attend_on_gpu(
    q: Tensor,
    cache: KeyValueCache,
    lengths: Tensor,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    angles: tuple[Tensor, Tensor] | None = None,
    parts: int | None = None,
    tile: AttentionTile | None = None,
) -> Tensor:
    """`kernels.attend` on the current stream; `parts` at most and `tile`, None: as the sizes suggest.

    With `angles` (cos, sin) `kernels.rotate_and_attend`, if `can_turn`, and q is qkv.
    """
    gpu = gpu_here(q.device)
    kv_heads, capacity, width = cache.keys.shape[1:]
    batch, heads = len(q), heads_of(q, cache)
    group, value_dim, latent = heads // kv_heads, cache.value_dim, cache.values is None
    tile = tile or tile_for(gpu, group, width, value_dim, latent, q.element_size())
    programs = kv_heads * -(-group // rows_of(group))
    parts = parts or parts_of(tile, batch * programs, capacity, gpu)
    q = q.contiguous()
    out = q.new_empty((batch, heads, value_dim))
    split, sums, marks, arrived = "", None, None, None
    if parts > 1:
        sums = q.new_empty((batch, heads, parts, value_dim), dtype=torch.float32)
        marks = q.new_empty((batch, heads, parts, 2), dtype=torch.float32)
        split = "one" if programs == kv_heads and sums.nbytes <= MERGED_BYTES * batch * programs else "two"
    if split == "one":
        arrived = q.new_zeros(batch * programs, dtype=torch.int32) if cache.arrived is None else cache.arrived
    launch = attend_launch(
        gpu, kv_heads, group, width, value_dim, latent, cache.scales is not None, softcap is not None,
        sinks is not None, split, tile, angles is not None,
    )  # fmt: skip
    cos, sin = angles or (None, None)
    key_scales, value_scales = cache.scales or (None, None)
    with on(q):
        launch(
            (parts, programs, batch), kinds(q, cos, sin, cache.keys, cache.values, lengths, sinks),
            q, cos, sin, cache.keys, cache.values, key_scales, value_scales, lengths, sinks, out, sums, marks,
            arrived, capacity, window or NO_WINDOW, *factors(scale, softcap),
        )  # fmt: skip
        if split == "two":
            blocks = -(-value_dim // min(MERGE_COLUMNS, padded(value_dim)))
            merge_launch(gpu, value_dim, triton.next_power_of_2(parts), sinks is not None)(
                (batch * heads, blocks, 1), kinds(out, sinks), sums, marks, sinks, out, heads, parts
            )
    return out


def heads_of(q: Tensor, cache: KeyValueCache) -> int:
    """Query heads of q `[B, H, D]`, or of qkv `[B, H D + KVH D + KVH DV]`."""
    _, kv_heads, _, width = cache.keys.shape
    return q.shape[1] if q.dim() == 3 else (q.shape[1] - kv_heads * (width + cache.value_dim)) // width


def can_turn(cache: KeyValueCache, cos: Tensor | None) -> bool:
    """Whether the kernel itself turns queries and keys, and stores: all columns, a power of two, no codes."""
    width = cache.keys.shape[3]
    whole = cos is not None and 2 * cos.shape[1] == width == padded(width)
    return whole and cache.values is not None and cache.scales is None
