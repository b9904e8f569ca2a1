# ruff: noqa: PLR0917 — attention has as many parts as it has
"""Attention over a cache: one new token of each sequence, or a chunk of one sequence's prompt.

    out[h] = Σ_p softmax_p(score[h, p]) * value[p]        score[h, p] = scale * q[h] · key[p]
    softcap c:  score = c * tanh(score / c)               sink s: one more position of score s[h] and value 0

over the positions p of the sequence up to the query's own, the last `window` of them where there is one.
Query heads h share key heads in equal groups, in order: H / KVH heads each.
"""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from kernels.device import runs_triton
from kernels.key_values import KeyValueCache

SCORE_ELEMENTS = 1 << 24  # float32 scores that plain torch holds at once: 64 MiB
# Without cuDNN's, which plans anew for each length, tens of milliseconds each time.
BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def attend(
    q: Tensor,
    cache: KeyValueCache,
    lengths: Tensor,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """q `[B, H, D]`, the newest token of each sequence, over its cached tokens → `[B, H, DV]` in q's dtype.

    `lengths` int32 `[B]` on q's device: tokens of each sequence, the newest (already stored) counted; 0: the
    row is zero. Sequence b is row b of the cache, which may have more. `sinks` `[H]`.
    On CUDA one launch, two where a latent's context is split among programs; nothing waits for the device,
    and the order of all sums is fixed. Calls over one cache follow each other: they share its counters.
    Raises ValueError where shapes do not belong together.
    """
    check(q, cache, sinks)
    check_lengths(lengths, q.shape[0], cache)
    if runs_triton(q.device):
        from kernels.attention_launch import attend_on_gpu

        return attend_on_gpu(q, cache, lengths, scale=scale, window=window, softcap=softcap, sinks=sinks)
    return attend_plain(q, cache, lengths, scale=scale, window=window, softcap=softcap, sinks=sinks)


def attend_plain(
    q: Tensor,
    cache: KeyValueCache,
    lengths: Tensor,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """The same in plain torch; waits for the device."""
    rows = []
    for row, length in enumerate(lengths.tolist()):
        if length == 0:
            rows.append(q.new_zeros((q.shape[1], 1, cache.value_dim)))
            continue
        keys, values = cache.read(row, first_seen(length - 1, window, cache, length), length, q.dtype)
        rows.append(weigh(q[row, :, None], keys, values, None, scale, softcap, sinks))
    return rows[0][None, :, 0] if len(rows) == 1 else torch.stack(rows)[:, :, 0]


def attend_prompt(
    q: Tensor,
    cache: KeyValueCache,
    row: int,
    first: int,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """q `[T, H, D]` at positions first … of sequence `row`, over its cached tokens → `[T, H, DV]`.

    The chunk's own keys and values are stored already; a ring must hold `window` - 1 + T tokens. `row` and
    `first` are numbers of the host: this is no part of a captured graph.
    Raises ValueError where shapes do not belong together or the cache no longer holds what is asked for.
    """
    check(q, cache, sinks)
    end = first + q.shape[0]
    if window is not None and window >= end:
        window = None
    plain = first == 0 and window is None and softcap is None and sinks is None and cache.scales is None
    if runs_triton(q.device) and not plain and cache.values is not None:
        from kernels.prompt_kernel import attend_prompt_on_gpu

        check_held(cache, first, end, window)
        return attend_prompt_on_gpu(
            q, cache, row, first, scale=scale, window=window, softcap=softcap, sinks=sinks
        )
    start = 0 if window is None else max(0, first + 1 - window)
    keys, values = cache.read(row, start, end, q.dtype)
    return attend_rows(
        q, keys, values, first - start, scale=scale, window=window, softcap=softcap, sinks=sinks
    )


def attend_rows(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    first: int,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """q `[T, H, D]` at positions first … over keys `[KVH, first + T, D]` and values `[KVH, first + T, DV]`.

    Gives `[T, H, DV]`. Keys stand in the order of their positions, from 0 on.
    """
    rows, length = q.shape[0], keys.shape[1]
    if length != first + rows or q.shape[1] % keys.shape[0] or q.shape[2] != keys.shape[2]:
        raise ValueError(f"queries {list(q.shape)} from position {first} do not fit keys {list(keys.shape)}")
    by_head = q.transpose(0, 1)
    if window is not None and window >= length:
        window = None
    if runs_triton(q.device) and (first or window or softcap is not None or sinks is not None):
        from kernels.prompt_kernel import attend_prompt_on_gpu

        cache = KeyValueCache(keys[None].contiguous(), values[None].contiguous())
        return attend_prompt_on_gpu(
            q, cache, 0, first, scale=scale, window=window, softcap=softcap, sinks=sinks
        )
    if softcap is None and sinks is None and window is None and first == 0:
        with sdpa_kernel(BACKENDS) if q.is_cuda else nullcontext():
            out = functional.scaled_dot_product_attention(
                by_head[None], keys[None], values[None], is_causal=rows > 1, scale=scale,
                enable_gqa=keys.shape[0] != q.shape[1],
            )  # fmt: skip
        return out[0].transpose(0, 1)
    chunk = max(1, SCORE_ELEMENTS // (q.shape[1] * length))
    parts = []
    for begin in range(0, rows, chunk):
        count = min(chunk, rows - begin)
        last = first + begin + count
        start = 0 if window is None else max(0, first + begin + 1 - window)
        mask = visible(first + begin, count, start, last, window, q.device)
        part = by_head[:, begin : begin + count]
        parts.append(weigh(part, keys[:, start:last], values[:, start:last], mask, scale, softcap, sinks))
    out = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    return out.transpose(0, 1)


def check(q: Tensor, cache: KeyValueCache, sinks: Tensor | None) -> None:
    """Raises ValueError where q `[T, H, D]` or sinks `[H]` do not fit the cache."""
    _, kv_heads, _, width = cache.keys.shape
    if q.dim() != 3 or q.shape[2] != width or q.shape[1] % kv_heads:
        raise ValueError(f"queries {list(q.shape)} do not fit a cache {list(cache.keys.shape)}")
    if sinks is not None and sinks.shape != q.shape[1:2]:
        raise ValueError(f"{list(sinks.shape)} sinks for {q.shape[1]} heads")


def check_lengths(lengths: Tensor, tokens: int, cache: KeyValueCache) -> None:
    """Raises ValueError unless there is a length for each token, and a sequence of the cache."""
    if lengths.shape != (tokens,) or tokens > cache.keys.shape[0]:
        raise ValueError(f"{tokens} tokens, {len(lengths)} lengths, {cache.keys.shape[0]} sequences")


def check_held(cache: KeyValueCache, first: int, end: int, window: int | None) -> None:
    """Raises ValueError where the cache no longer holds what positions first … end - 1 see."""
    oldest = 0 if window is None else max(0, first + 1 - window)
    if end - oldest > cache.capacity:
        raise ValueError(f"a cache of {cache.capacity} tokens can't give positions {oldest} to {end}")


def first_seen(position: int, window: int | None, cache: KeyValueCache, length: int) -> int:
    """The first position that a token sees of a sequence of this length."""
    oldest = max(0, length - cache.capacity)
    return oldest if window is None else max(oldest, position + 1 - window)


def visible(
    first: int, count: int, start: int, end: int, window: int | None, device: torch.device
) -> Tensor | None:
    """bool `[count, end - start]`: which of positions start … those from first on see; None: all see all."""
    if count == 1:
        return None
    query = torch.arange(first, first + count, device=device)[:, None]
    key = torch.arange(start, end, device=device)[None, :]
    seen = key <= query
    return seen if window is None else seen & (key > query - window)


def weigh(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    scale: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """q `[H, T, D]`, keys `[KVH, S, D]`, values `[KVH, S, DV]`, mask bool `[T, S]` → `[H, T, DV]`."""
    heads, kv_heads = q.shape[0], keys.shape[0]
    if softcap is None and sinks is None and q.shape[1] == 1:
        # Heads that share keys are rows of one product: nobody copies the keys for each of them.
        together = q.reshape(1, kv_heads, heads // kv_heads, -1)
        mixed: Tensor = functional.scaled_dot_product_attention(
            together, keys[None], values[None], scale=scale
        )
        return mixed.reshape(heads, 1, -1)
    if softcap is None and sinks is None:
        out: Tensor = functional.scaled_dot_product_attention(
            q[None], keys[None], values[None], attn_mask=mask, scale=scale, enable_gqa=heads != kv_heads
        )
        return out[0]
    grouped = q.unflatten(0, (kv_heads, heads // kv_heads))
    scores = grouped.float() @ keys.float().mT[:, None] * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is None:
        shares = scores.softmax(-1)
    else:
        sink = sinks.float().view(kv_heads, -1, 1, 1).expand(*scores.shape[:-1], 1)
        shares = torch.cat((scores, sink), -1).softmax(-1)[..., :-1]
    weighed: Tensor = shares.to(values.dtype) @ values[:, None]
    return weighed.flatten(0, 1)
