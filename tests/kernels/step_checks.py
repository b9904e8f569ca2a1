# ruff: noqa: PLR0917 — a case has as many parts as it has
"""What the kernels between the matmuls must hold, on any device: each against its plain reference, and those
against explicit loops in float64. Used on the CPU, through the interpreter and on a GPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import Filters, KeyValueCache
from kernels.attention import attend_plain
from kernels.choice import choose_plain
from kernels.norms import NORM_KINDS, norm_plain
from kernels.rotary import rotate_and_store_latent_plain, rotate_and_store_plain
from tests.kernels.cases import TOLERANCE, random_rows, relative_error

NAN = float("nan")


@dataclass(frozen=True)
class Heads:
    """One layer's cache: heads, widths, and how it stores."""

    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    value_dim: int = 16
    latent: int = 0
    coded: bool = False
    dtype: torch.dtype = torch.float32

    def cache(self, batch: int, capacity: int, device: str) -> KeyValueCache:
        return KeyValueCache.empty(
            batch, self.kv_heads, capacity, self.head_dim, self.value_dim, latent=self.latent,
            dtype=torch.int8 if self.coded else self.dtype, device=device,
        )  # fmt: skip

    def queries(self, rows: int, seed: int, device: str) -> Tensor:
        return random_rows((rows, self.heads, self.head_dim), self.dtype, seed, device)


def written_cache(
    heads: Heads, lengths: Sequence[int], capacity: int, *, seed: int = 0, device: str = "cpu"
) -> KeyValueCache:
    """Random tokens at the last positions of each sequence; NaN where none was ever written."""
    cache = heads.cache(len(lengths), capacity, device)
    for part in (*(cache.scales or (cache.keys,)), *([cache.values] if cache.values is not None else [])):
        if part.is_floating_point():
            part.fill_(NAN)
    for row, length in enumerate(lengths):
        positions = torch.arange(max(0, length - capacity), length, device=device)
        shape = (len(positions), heads.kv_heads)
        keys = random_rows((*shape, heads.head_dim), heads.dtype, seed + 2 * row, device)
        values = random_rows((*shape, heads.value_dim), heads.dtype, seed + 2 * row + 1, device)
        cache.write(keys, None if heads.latent else values, positions, torch.full_like(positions, row))
    return cache


def on_cpu(cache: KeyValueCache) -> KeyValueCache:
    """A copy that loops can read quickly."""
    scales = cache.scales and (cache.scales[0].cpu(), cache.scales[1].cpu())
    values = None if cache.values is None else cache.values.cpu()
    return KeyValueCache(cache.keys.cpu(), values, scales, cache.latent)


def explicit_attention(
    q: Tensor, cache: KeyValueCache, row: int, position: int, *, scale: float, window: int | None = None,
    softcap: float | None = None, sinks: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """One token's q `[H, D]` → `[H, DV]` in float64, position by position."""
    group = q.shape[0] // cache.keys.shape[1]
    out = torch.zeros((q.shape[0], cache.value_dim), dtype=torch.float64)
    oldest = 0 if window is None else max(0, position + 1 - window)
    for head in range(q.shape[0]):
        scores, values = [], []
        for p in range(oldest, position + 1):
            place = (row, head // group, p % cache.capacity)
            key = cache.keys[place].double()
            value = key[: cache.latent] if cache.values is None else cache.values[place].double()
            if cache.scales is not None:
                of_key, of_value = (float(part[place]) for part in cache.scales)
                value = value * of_value
                if cache.values is None:
                    key = torch.cat((value, key[cache.latent :] * of_key))
                else:
                    key = key * of_key
            score = float(q[head].double() @ key) * scale
            if softcap is not None:
                score = softcap * float(torch.tanh(torch.tensor(score / softcap, dtype=torch.float64)))
            scores.append(score)
            values.append(value)
        if sinks is not None:
            scores.append(float(sinks[head]))
            values.append(torch.zeros(cache.value_dim, dtype=torch.float64))
        shares = torch.tensor(scores, dtype=torch.float64).softmax(0)
        out[head] = shares @ torch.stack(values)
    return out


def check_attend(
    attend: Callable[..., Tensor], heads: Heads, lengths: Sequence[int], capacity: int, *,
    window: int | None = None, softcap: float | None = None, sinks: bool = False, seed: int = 0,
    device: str = "cpu", **cut: object,
) -> None:  # fmt: skip
    """The newest token of each sequence; `cut`: what the kernel alone takes, parts or a tile."""
    cache = written_cache(heads, lengths, capacity, seed=seed, device=device)
    q = heads.queries(len(lengths), seed + 99, device)
    options = {
        "scale": heads.head_dim**-0.5, "window": window, "softcap": softcap,
        "sinks": random_rows((heads.heads,), heads.dtype, seed, device) if sinks else None,
    }  # fmt: skip
    given = torch.tensor(lengths, dtype=torch.int32, device=device)
    out, again = (attend(q, cache, given, **options, **cut) for _ in range(2))
    assert out.dtype == q.dtype
    assert torch.equal(out, again)
    q, out, cache = q.cpu(), out.cpu(), on_cpu(cache)
    seen = capacity if window is None else min(window, capacity)
    for row, length in enumerate(lengths):
        if length == 0:
            assert torch.count_nonzero(out[row]) == 0
            continue
        expected = explicit_attention(q[row], cache, row, length - 1, **options | {"window": seen})
        error = relative_error(out[row], expected)
        assert error <= TOLERANCE[heads.dtype], f"relative error {error:.2e} of {heads}, length {length}"


def check_attend_prompt(
    attend_prompt: Callable[..., Tensor], heads: Heads, first: int, rows: int, capacity: int, *,
    window: int | None = None, softcap: float | None = None, sinks: bool = False, seed: int = 0,
    device: str = "cpu",
) -> None:  # fmt: skip
    """A chunk of a text in row 1 of the cache; every fourth of its tokens, and the last, are checked."""
    cache = written_cache(heads, [0, first + rows], capacity, seed=seed, device=device)
    q = heads.queries(rows, seed + 99, device)
    options = {
        "scale": heads.head_dim**-0.5, "window": window, "softcap": softcap,
        "sinks": random_rows((heads.heads,), heads.dtype, seed, device) if sinks else None,
    }  # fmt: skip
    out, again = (attend_prompt(q, cache, 1, first, **options) for _ in range(2))
    assert torch.equal(out, again)
    q, out, cache = q.cpu(), out.cpu(), on_cpu(cache)
    for token in {*range(0, rows, 4), rows - 1}:
        expected = explicit_attention(q[token], cache, 1, first + token, **options)
        error = relative_error(out[token], expected)
        assert error <= TOLERANCE[heads.dtype], f"relative error {error:.2e} of {heads}, token {token}"


def same_cache(one: KeyValueCache, other: KeyValueCache, dtype: torch.dtype) -> None:
    """Equal up to rounding; codes may differ by one where a value lies between two."""
    if one.scales is not None and other.scales is not None:
        for left, right in zip(one.scales, other.scales, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-5, atol=0)
        assert int((one.keys.int() - other.keys.int()).abs().max()) <= 1
        return
    assert relative_error(one.keys, other.keys.double()) <= TOLERANCE[dtype]
    if one.values is not None and other.values is not None:
        assert torch.equal(one.values, other.values)


def check_rotate(
    rotate: Callable[..., Tensor], heads: Heads, positions: Sequence[int], rotary: int, *,
    interleaved: bool = False, norm: str = "", rows: bool = False, kind: str = "rms", seed: int = 0,
    device: str = "cpu",
) -> None:  # fmt: skip
    """Queries and cache as plain torch makes them; `norm` is "", "head" or "whole"."""
    tokens, width = len(positions), heads.head_dim
    fused = heads.heads * width + heads.kv_heads * (width + heads.value_dim)
    qkv = random_rows((tokens, fused), heads.dtype, seed, device)
    angles = random_rows((64, max(1, rotary // 2)), torch.float32, seed + 1, device)
    tables = (angles.cos(), angles.sin()) if rotary else (None, None)
    given = torch.tensor(positions, device=device)
    sizes = {"": None, "head": (width, width), "whole": (heads.heads * width, heads.kv_heads * width)}[norm]
    weights = sizes and [random_rows((size,), heads.dtype, seed + 2, device) for size in sizes]
    options = {
        "heads": heads.heads, "interleaved": interleaved, "kind": kind,
        "rows": torch.arange(tokens - 1, -1, -1, device=device) if rows else None,
        "q_norm": weights and weights[0], "k_norm": weights and weights[1],
    }  # fmt: skip
    caches = [heads.cache(tokens, 8, device) for _ in range(2)]
    out = rotate(qkv, *tables, given, caches[0], **options)
    expected = rotate_and_store_plain(qkv, *tables, given, caches[1], **options)
    stored = given >= 0
    assert relative_error(out[stored], expected[stored].double()) <= TOLERANCE[heads.dtype]
    same_cache(*caches, heads.dtype)


def check_rotate_and_attend(
    rotate_and_attend: Callable[..., Tensor], heads: Heads, starts: Sequence[int], steps: int,
    capacity: int, *, window: int | None = None, softcap: float | None = None, sinks: bool = False,
    device: str = "cpu", **cut: object,
) -> None:  # fmt: skip
    """Steps of texts that begin with so many tokens, as plain torch makes them; -1: no text."""
    lengths = [max(0, start) for start in starts]
    caches = [written_cache(heads, lengths, capacity, device=device) for _ in range(2)]
    fused = heads.heads * heads.head_dim + heads.kv_heads * (heads.head_dim + heads.value_dim)
    angles = random_rows((max(lengths) + steps, heads.head_dim // 2), torch.float32, 1, device)
    tables = (angles.cos(), angles.sin())
    options = {
        "scale": heads.head_dim**-0.5, "window": window, "softcap": softcap,
        "sinks": random_rows((heads.heads,), heads.dtype, 9, device) if sinks else None,
    }  # fmt: skip
    for step in range(steps):
        given = torch.tensor([start + step if start >= 0 else -1 for start in starts], device=device)
        qkv = random_rows((len(starts), fused), heads.dtype, 50 + step, device)
        tokens = (given + 1).int()
        q = rotate_and_store_plain(qkv, *tables, given, caches[0], heads=heads.heads)
        expected = attend_plain(q, caches[0], tokens, **options)
        out = rotate_and_attend(qkv, *tables, given, tokens, caches[1], heads=heads.heads, **options, **cut)
        assert relative_error(out, expected.double()) <= 2 * TOLERANCE[heads.dtype]
        assert torch.count_nonzero(out[given < 0]) == 0
    for plain, ours in zip(*((cache.keys, cache.values) for cache in caches), strict=True):
        assert torch.equal(plain.isnan(), ours.isnan())  # nothing but the newest tokens was written
        assert relative_error(ours.nan_to_num(), plain.nan_to_num().double()) <= TOLERANCE[heads.dtype]


def check_latent(
    rotate: Callable[..., None], heads: Heads, positions: Sequence[int], *, interleaved: bool = True,
    seed: int = 0, device: str = "cpu",
) -> None:  # fmt: skip
    """The queries' last columns and the cache as plain torch makes them; views with gaps go in."""
    tokens, rotary = len(positions), heads.head_dim - heads.latent
    q = random_rows((tokens, heads.heads, 5 + rotary), heads.dtype, seed, device)[..., 5:]
    latent = random_rows((tokens, heads.head_dim + 3), heads.dtype, seed + 1, device)[:, 3:]
    angles = random_rows((64, rotary // 2), torch.float32, seed + 2, device)
    weight = random_rows((heads.latent,), heads.dtype, seed + 3, device)
    given = torch.tensor(positions, device=device)
    caches = [heads.cache(tokens, 8, device) for _ in range(2)]
    made = [q.new_zeros((tokens, heads.heads, heads.head_dim)) for _ in range(2)]
    for function, cache, queries in zip((rotate, rotate_and_store_latent_plain), caches, made, strict=True):
        function(
            q, latent, queries, angles.cos(), angles.sin(), given, cache, weight=weight,
            interleaved=interleaved,
        )  # fmt: skip
    stored = given >= 0
    assert torch.count_nonzero(made[0][..., : heads.latent]) == 0
    assert relative_error(made[0][stored], made[1][stored].double()) <= TOLERANCE[heads.dtype]
    same_cache(*caches, heads.dtype)


def check_norms(
    norm: Callable[..., tuple[Tensor, Tensor]], rows: int, width: int, dtype: torch.dtype, seed: int = 0,
    device: str = "cpu",
) -> None:  # fmt: skip
    """Every kind, with and without what may stand around it."""
    x = random_rows((rows, width), dtype, seed, device)
    residual = random_rows((rows, width), dtype, seed + 1, device)
    weight, before, bias = (random_rows((width,), dtype, seed + 2 + i, device) for i in range(3))
    cases = [(kind, weight, None, around, None) for kind in NORM_KINDS for around in (None, residual)]
    cases += [(kind, weight, None, residual, before) for kind in ("rms", "rms_once")]
    cases += [("rms", None, None, residual, before), ("layer", weight, bias, residual, None)]
    cases += [("layer", None, None, None, None)]
    for kind, scale, shift, around, inner in cases:
        options = {"eps": 1e-5, "kind": kind, "residual": around, "before": inner}
        out = norm(x, scale, shift, **options)
        for ours, expected in zip(out, norm_plain(x, scale, shift, **options), strict=True):
            error = relative_error(ours, expected.double())
            assert error <= TOLERANCE[dtype], f"relative error {error:.2e} of {kind}"


def check_choice(
    choose: Callable[..., tuple[Tensor, Tensor]], vocabulary: int, used: Sequence[str], *,
    dtype: torch.dtype = torch.float32, seed: int = 0, device: str = "cpu",
) -> None:  # fmt: skip
    """Three rows, the middle one greedy, with the filters that are `used`: the tokens of plain torch."""
    generator = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn((3, vocabulary), generator=generator)).to(device, dtype)
    noise = torch.empty((3, vocabulary)).exponential_(1, generator=generator).to(device)
    seen = (torch.rand((3, vocabulary), generator=generator) < 0.2).to(device, torch.uint8)
    values = {
        "temperature": torch.tensor([0.7, 0.0, 1.5]),
        "top_k": torch.tensor([3, 2, 40], dtype=torch.int32),
        "top_p": torch.tensor([0.9, 0.5, 0.3]),
        "min_p": torch.tensor([0.1, 0.0, 0.02]),
        "penalty": torch.tensor([1.3, 2.0, 1.0]),
    }
    filters = Filters(**{name: values[name].to(device) for name in used})
    drawn = noise if "temperature" in used else None
    marks = seen.clone()
    tokens, bad = choose(logits, filters, drawn, seen)
    expected, _ = choose_plain(logits, filters, drawn, marks)
    assert tokens.dtype == torch.int64
    assert torch.equal(tokens, expected)
    assert torch.equal(seen, marks)
    assert not bad.any()


def check_router_scores(
    tokens: int, experts: int, k: int, dtype: torch.dtype, out: torch.dtype, device: str
) -> None:
    """Against float64, with a bias and without."""
    from kernels.router_kernel import scores_on_gpu

    x, weight = random_rows((tokens, k), dtype, 1, device), random_rows((experts, k), dtype, 2, device)
    bias = random_rows((experts,), dtype, 3, device)
    for added in (bias, None):
        scores = scores_on_gpu(x, weight, added, out)
        expected = x.double() @ weight.double().mT + (0 if added is None else added.double())
        assert scores.dtype == out
        assert relative_error(scores, expected) <= TOLERANCE[out]
