# ruff: noqa: PLR0917 — a latent step has as many tensors as it has
"""Rotary positions on queries and keys, and keys and values into the cache, in one launch.

A pair (a, b) of a head's columns, with the angle's cos and sin at the token's position, becomes

    (a cos - b sin, b cos + a sin)         half:         a, b = columns i and i + R/2      (Llama)
                                           interleaved:  a, b = columns 2 i and 2 i + 1    (GLM, DeepSeek)

for i < R/2; columns from R on stay as they are. Products in float32, rounded once. DeepSeek-V3 gives out its
interleaved pairs as halves: as queries and keys are permuted alike, no score changes.

Norms of queries and keys before that: over each head (weight `[D]`: Qwen 3, Gemma 3) or over all heads of a
token together (weight `[H D]`: OLMo 2, OLMoE).
"""

import torch
from torch import Tensor

from kernels.device import runs_triton
from kernels.key_values import KeyValueCache
from kernels.norms import NormKind, normed_rows


def rotate_and_store(
    qkv: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    positions: Tensor,
    cache: KeyValueCache,
    *,
    heads: int,
    rows: Tensor | None = None,
    interleaved: bool = False,
    q_norm: Tensor | None = None,
    k_norm: Tensor | None = None,
    eps: float = 1e-6,
    kind: NormKind = "rms",
) -> Tensor:
    """qkv `[T, H D + KVH D + KVH DV]` → rotated queries `[T, H, D]`; keys and values go into the cache.

    `cos`, `sin` `[P, R/2]` float32, tables by position with the scaling of the rope in them; None: no
    rotation. `positions` int `[T]` on the device: a token below 0 is not stored (and its query means
    nothing). `rows` int `[T]`: the sequence of each token; None: token t is of sequence t, as in a decode
    step. No two tokens may meet in one slot. `q_norm`, `k_norm`, `eps`, `kind`: as above and in
    `kernels.norm`. On CUDA one launch; nothing waits for the device.
    Raises ValueError where shapes do not belong together.
    """
    check_rotation(qkv, cos, sin, positions, cache, heads=heads, rows=rows)
    kv_heads, width = cache.keys.shape[1], cache.keys.shape[3]
    if (q_norm is None) != (k_norm is None):
        raise ValueError("queries and keys have norms together or not at all")
    if q_norm is not None and k_norm is not None:
        sizes = (q_norm.numel(), k_norm.numel())
        if sizes not in ((width, width), (heads * width, kv_heads * width)):
            raise ValueError(f"norms of {sizes} weights for {heads} and {kv_heads} heads of {width}")
    if runs_triton(qkv.device):
        from kernels.rotary_kernel import rotate_and_store_on_gpu

        return rotate_and_store_on_gpu(
            qkv, cos, sin, positions, cache, heads=heads, rows=rows, interleaved=interleaved, q_norm=q_norm,
            k_norm=k_norm, eps=eps, kind=kind,
        )  # fmt: skip
    return rotate_and_store_plain(
        qkv, cos, sin, positions, cache, heads=heads, rows=rows, interleaved=interleaved, q_norm=q_norm,
        k_norm=k_norm, eps=eps, kind=kind,
    )  # fmt: skip


def rotate_and_store_plain(
    qkv: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    positions: Tensor,
    cache: KeyValueCache,
    *,
    heads: int,
    rows: Tensor | None = None,
    interleaved: bool = False,
    q_norm: Tensor | None = None,
    k_norm: Tensor | None = None,
    eps: float = 1e-6,
    kind: NormKind = "rms",
) -> Tensor:
    """The same in plain torch."""
    kv_heads, width = cache.keys.shape[1], cache.keys.shape[3]
    both, v = qkv.split(((heads + kv_heads) * width, kv_heads * cache.value_dim), -1)
    both = both.view(-1, heads + kv_heads, width)
    if q_norm is not None and k_norm is not None:
        q, k = both.split((heads, kv_heads), 1)
        both = torch.cat((normed_heads(q, q_norm, eps, kind), normed_heads(k, k_norm, eps, kind)), 1)
    if cos is not None and sin is not None:
        both = rotate(both, *angles_of(cos, sin, positions), interleaved=interleaved)
    queries: Tensor = both[:, :heads].to(qkv.dtype)
    cache.write(both[:, heads:], v.view(-1, kv_heads, cache.value_dim), positions, rows)
    return queries


def rotate_and_store_latent(
    q: Tensor,
    latent: Tensor,
    queries: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor,
    cache: KeyValueCache,
    *,
    weight: Tensor | None,
    rows: Tensor | None = None,
    interleaved: bool = True,
    eps: float = 1e-6,
    kind: NormKind = "rms",
) -> None:
    """Multi-head latent attention: rotate queries and the latent's last R columns, norm and store it.

    q `[T, H, R]`, the rotary columns of the queries (a view is fine) → the last R columns of `queries`
    `[T, H, latent + R]`, whose others are the caller's. latent `[T, latent + R]` as projected: its first
    columns are normed with `weight`, its last rotated, both stored. The rest as in `rotate_and_store`.
    """
    rotary = cache.keys.shape[3] - cache.latent
    if cache.values is not None or latent.shape != (q.shape[0], cache.latent + rotary):
        raise ValueError(f"a latent {list(latent.shape)} does not fit a cache {list(cache.keys.shape)}")
    if q.shape[2] != rotary or queries.shape != (*q.shape[:2], cache.latent + rotary):
        raise ValueError(f"queries {list(queries.shape)} do not end in rotary columns {list(q.shape)}")
    check_angles(cos, sin, positions, rows, q.shape[0], rotary)
    if runs_triton(q.device):
        from kernels.rotary_kernel import rotate_and_store_latent_on_gpu

        rotate_and_store_latent_on_gpu(
            q, latent, queries, cos, sin, positions, cache, weight=weight, rows=rows, interleaved=interleaved,
            eps=eps, kind=kind,
        )  # fmt: skip
        return
    rotate_and_store_latent_plain(
        q, latent, queries, cos, sin, positions, cache, weight=weight, rows=rows, interleaved=interleaved,
        eps=eps, kind=kind,
    )  # fmt: skip


def rotate_and_store_latent_plain(
    q: Tensor,
    latent: Tensor,
    queries: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor,
    cache: KeyValueCache,
    *,
    weight: Tensor | None,
    rows: Tensor | None = None,
    interleaved: bool = True,
    eps: float = 1e-6,
    kind: NormKind = "rms",
) -> None:
    """The same in plain torch."""
    shared, others = latent.split((cache.latent, latent.shape[1] - cache.latent), -1)
    if weight is not None:
        shared = normed_rows(shared, weight, None, eps, kind)
    angles = angles_of(cos, sin, positions)
    queries[..., cache.latent :] = rotate(q, *angles, interleaved=interleaved).to(queries.dtype)
    others = rotate(others[:, None], *angles, interleaved=interleaved)
    cache.write(torch.cat((shared[:, None].to(others.dtype), others), -1), None, positions, rows)


def check_rotation(
    qkv: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    positions: Tensor,
    cache: KeyValueCache,
    *,
    heads: int,
    rows: Tensor | None = None,
) -> None:
    """Raises ValueError where qkv, angles and places do not fit the cache and each other."""
    kv_heads, width = cache.keys.shape[1], cache.keys.shape[3]
    if cache.values is None:
        raise ValueError("a latent cache is written by rotate_and_store_latent")
    if qkv.dim() != 2 or qkv.shape[1] != heads * width + kv_heads * (width + cache.value_dim):
        raise ValueError(f"qkv {list(qkv.shape)} is not {heads} and two times {kv_heads} heads of {width}")
    check_angles(cos, sin, positions, rows, qkv.shape[0], width)


def check_angles(
    cos: Tensor | None, sin: Tensor | None, positions: Tensor, rows: Tensor | None, tokens: int, width: int
) -> None:
    """Raises ValueError where tables `[P, R/2]`, positions and rows do not fit tokens of this width."""
    if positions.shape != (tokens,) or (rows is not None and rows.shape != (tokens,)):
        raise ValueError(f"{tokens} tokens need as many positions and rows")
    if cos is None or sin is None:
        if cos is not sin:
            raise ValueError("cos and sin are given together")
        return
    if cos.shape != sin.shape or cos.dim() != 2 or 2 * cos.shape[1] > width:
        raise ValueError(f"angles {list(cos.shape)} and {list(sin.shape)} do not fit heads of {width}")


def normed_heads(x: Tensor, weight: Tensor, eps: float, kind: NormKind) -> Tensor:
    """x `[T, heads, D]` normed by head, weight `[D]`, or all heads together, weight `[heads D]`."""
    if weight.shape[0] == x.shape[2]:
        return normed_rows(x, weight, None, eps, kind)
    return normed_rows(x.flatten(1), weight, None, eps, kind).view(x.shape)


def angles_of(cos: Tensor, sin: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of both tables, for each token's heads to share."""
    if len(positions) == 1:
        position = max(0, int(positions[0]))
        return cos[position], sin[position]
    known = positions.clamp(min=0)
    return cos[known, None], sin[known, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool) -> Tensor:
    """x `[..., D]`, cos and sin `[..., R/2]` that broadcast → float32 `[..., D]`."""
    pairs = cos.shape[-1]
    wide = x.float()
    turned, rest = wide.split((2 * pairs, x.shape[-1] - 2 * pairs), -1)
    a, b = (turned[..., ::2], turned[..., 1::2]) if interleaved else turned.split((pairs, pairs), -1)
    first = torch.addcmul(a * cos, b, sin, value=-1)
    second = torch.addcmul(b * cos, a, sin)
    if interleaved:
        return torch.cat((torch.stack((first, second), -1).flatten(-2), rest), -1)
    return torch.cat((first, second, rest), -1)
