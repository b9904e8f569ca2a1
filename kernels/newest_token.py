# ruff: noqa: PLR0917 — a step has as many tensors as it has
"""The newest token of each sequence: its rotary positions, its place in the cache, and its attention.

One launch where the attention's kernel can do it all, else one for each half.
"""

from torch import Tensor

from kernels.attention import attend, check_lengths
from kernels.device import runs_triton
from kernels.key_values import KeyValueCache
from kernels.norms import NormKind
from kernels.rotary import check_rotation, rotate_and_store


def rotate_and_attend(
    qkv: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    positions: Tensor,
    lengths: Tensor,
    cache: KeyValueCache,
    *,
    heads: int,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    interleaved: bool = False,
    q_norm: Tensor | None = None,
    k_norm: Tensor | None = None,
    eps: float = 1e-6,
    kind: NormKind = "rms",
) -> Tensor:
    """`rotate_and_store` and then `attend`: qkv `[B, H D + KVH D + KVH DV]` → `[B, H, DV]`.

    Token b is the newest of sequence b, at `positions[b]` = `lengths[b]` - 1; where that is -1 nothing is
    stored and the row is zero. Raises ValueError where shapes do not belong together.
    """
    if runs_triton(qkv.device) and cos is not None and sin is not None and q_norm is None and not interleaved:
        from kernels.attention_launch import attend_on_gpu, can_turn

        if can_turn(cache, cos):
            check_rotation(qkv, cos, sin, positions, cache, heads=heads)
            check_lengths(lengths, len(qkv), cache)
            return attend_on_gpu(
                qkv, cache, lengths, scale=scale, window=window, softcap=softcap, sinks=sinks,
                angles=(cos.contiguous(), sin.contiguous()),
            )  # fmt: skip
    q = rotate_and_store(
        qkv, cos, sin, positions, cache, heads=heads, interleaved=interleaved, q_norm=q_norm, k_norm=k_norm,
        eps=eps, kind=kind,
    )  # fmt: skip
    return attend(q, cache, lengths, scale=scale, window=window, softcap=softcap, sinks=sinks)
