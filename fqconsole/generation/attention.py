"""The attention of one layer: queries, keys and values of new tokens, the cache, and the way back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor

import kernels
from fqconsole.generation.passes import Chunk, Pass
from fqconsole.generation.projections import Projection
from fqconsole.generation.stream import Leave, Left, RowNorm
from kernels.attention import attend, attend_prompt, attend_rows
from kernels.key_values import KeyValueCache
from kernels.newest_token import rotate_and_attend
from kernels.norms import NormKind
from kernels.rotary import rotate_and_store, rotate_and_store_latent


class Turns(TypedDict):
    """What `kernels.rotate_and_store` takes beside tensors of the step."""

    interleaved: bool
    q_norm: Tensor | None
    k_norm: Tensor | None
    eps: float
    kind: NormKind


@dataclass(frozen=True, eq=False)
class HeadAttention:
    """Query heads in equal groups over key heads, with all that families add to it.

    `turns`: the kind of rotary table, None: nothing is rotated. `clip`: the largest |x| of queries, keys and
    values.
    """

    first: Projection  # q, k and v one after the other
    last: Projection
    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    turns: str | None
    interleaved: bool
    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None
    clip: float | None = None
    q_norm: RowNorm | None = None
    k_norm: RowNorm | None = None

    def __call__(
        self,
        x: Tensor,
        tokens: Pass,
        cache: KeyValueCache,
        norm: kernels.Norm | None,
        leave: Leave[Left],
    ) -> Left:
        qkv = self.first(x, norm=norm)
        if self.clip is not None:
            qkv = qkv.clamp(-self.clip, self.clip)
        if tokens.lengths is not None:
            mixed = rotate_and_attend(
                qkv, *self._angles(tokens), tokens.positions, tokens.lengths, cache, heads=self.heads,
                scale=self.scale, window=self.window, softcap=self.softcap, sinks=self.sinks, **self._turns(),
            )  # fmt: skip
        elif self.window is None or all(_end(chunk) <= cache.capacity for chunk in tokens.chunks):
            q = self._store(qkv, tokens, cache)
            mixed = _each(tokens.chunks, q, lambda part, chunk: self._attend_prompt(part, cache, chunk))
        else:
            mixed = self._slide(qkv, tokens, cache)
        return leave(self.last, mixed.flatten(1))

    def _store(self, qkv: Tensor, tokens: Pass, cache: KeyValueCache) -> Tensor:
        return rotate_and_store(
            qkv, *self._angles(tokens), tokens.positions, cache, heads=self.heads, rows=tokens.rows,
            **self._turns(),
        )  # fmt: skip

    def _angles(self, tokens: Pass) -> tuple[Tensor | None, Tensor | None]:
        """Tables of cos and sin."""
        table = None if self.turns is None else tokens.rotary.table(self.turns)
        return (None, None) if table is None else (table.cos, table.sin)

    def _turns(self) -> Turns:
        """How queries and keys are normed and turned."""
        norm = self.q_norm
        return {
            "interleaved": self.interleaved,
            "q_norm": None if norm is None else norm.weight,
            "k_norm": None if self.k_norm is None else self.k_norm.weight,
            "eps": 1e-6 if norm is None else norm.eps,
            "kind": "rms" if norm is None else norm.kind,
        }

    def _attend_prompt(self, q: Tensor, cache: KeyValueCache, chunk: Chunk) -> Tensor:
        return attend_prompt(
            q, cache, chunk.row, chunk.first, scale=self.scale, window=self.window, softcap=self.softcap,
            sinks=self.sinks,
        )  # fmt: skip

    def _slide(self, qkv: Tensor, tokens: Pass, cache: KeyValueCache) -> Tensor:
        """Prompts past the window, where the ring can't hold a chunk's own tokens and those before it.

        A second cache, for this layer and this pass alone, holds both; the ring gets what it will be asked
        for.
        """
        chunks = tokens.chunks
        wide = KeyValueCache.empty(
            len(chunks), self.kv_heads, max(chunk.count for chunk in chunks) + cache.capacity, self.head_dim,
            cache.value_dim, dtype=qkv.dtype, device=qkv.device,
        )  # fmt: skip
        here = Pass.of_chunks(
            tuple(replace(chunk, row=row) for row, chunk in enumerate(chunks)), tokens.rotary, qkv.device
        )
        for row, chunk in enumerate(chunks):
            seen = min(chunk.first, cache.capacity)
            _copy(cache, wide, Chunk(chunk.row, chunk.first - seen, seen), row)
        q = self._store(qkv, here, wide)
        mixed = _each(here.chunks, q, lambda part, chunk: self._attend_prompt(part, wide, chunk))
        for row, chunk in enumerate(chunks):
            last = min(chunk.count, cache.capacity)
            _copy(wide, cache, Chunk(row, _end(chunk) - last, last), chunk.row)
        return mixed


@dataclass(frozen=True, eq=False)
class LatentAttention:
    """DeepSeek's attention: a token's keys and values are made of one latent vector, which alone is cached.

    A decode step never makes them: queries go into the latent's space and results come back from it,

        q_nope · (U_K c) = (U_Kᵀ q_nope) · c            Σ p (U_V c) = U_V Σ p c

    (DeepSeek-V2, arXiv 2405.04434, section 2.1.2). A prompt makes them for the tokens it attends to.
    """

    first: Projection  # queries or their latent, then the latent of keys and values with its rotary part
    last: Projection
    widen: tuple[RowNorm, Projection] | None  # where queries have a latent: its norm, and what widens it
    latent_norm: RowNorm
    up_keys: Tensor  # [H, nope, latent]
    up_values: Tensor  # [H, value, latent]
    heads: int
    rotary_dim: int
    scale: float
    interleaved: bool

    def __call__(
        self,
        x: Tensor,
        tokens: Pass,
        cache: KeyValueCache,
        norm: kernels.Norm | None,
        leave: Leave[Left],
    ) -> Left:
        q, latent = self._project(x, norm)
        table = tokens.rotary.table("")
        q = q.unflatten(-1, (self.heads, -1))
        plain, turned = q.split((q.shape[-1] - self.rotary_dim, self.rotary_dim), -1)
        queries = q.new_empty((q.shape[0], self.heads, cache.latent + self.rotary_dim))
        if tokens.lengths is not None:
            queries[..., : cache.latent] = torch.matmul(plain.transpose(0, 1), self.up_keys).transpose(0, 1)
        rotate_and_store_latent(
            turned, latent, queries, table.cos, table.sin, tokens.positions, cache,
            weight=self.latent_norm.weight, rows=tokens.rows, interleaved=self.interleaved,
            eps=self.latent_norm.eps, kind=self.latent_norm.kind,
        )  # fmt: skip
        if tokens.lengths is not None:
            mixed = attend(queries, cache, tokens.lengths, scale=self.scale)
            out = torch.matmul(mixed.transpose(0, 1), self.up_values.mT).transpose(0, 1)
        else:
            queries = torch.cat((plain, queries[..., cache.latent :]), -1)
            out = _each(tokens.chunks, queries, lambda part, chunk: self._attend_prompt(part, cache, chunk))
        return leave(self.last, out.flatten(1))

    def _project(self, x: Tensor, norm: kernels.Norm | None) -> tuple[Tensor, Tensor]:
        """Queries `[T, H (nope + rotary)]` and the latent `[T, latent + rotary]` as projected."""
        rank = self.up_keys.shape[-1] + self.rotary_dim
        both = self.first(x, norm=norm)
        q, latent = both.split((both.shape[-1] - rank, rank), -1)
        if self.widen is not None:
            norm_of_queries, widen = self.widen
            q = widen(norm_of_queries(q))
        return q, latent

    def _attend_prompt(self, q: Tensor, cache: KeyValueCache, chunk: Chunk) -> Tensor:
        keys, latents = cache.read(chunk.row, 0, _end(chunk), q.dtype)
        nope = torch.matmul(latents, self.up_keys.mT)  # [H, S, nope]
        turned = keys[..., cache.latent :].expand(self.heads, -1, -1)
        values = torch.matmul(latents, self.up_values.mT)
        return attend_rows(q, torch.cat((nope, turned), -1), values, chunk.first, scale=self.scale)


def _each(chunks: tuple[Chunk, ...], q: Tensor, attend_chunk: Callable[[Tensor, Chunk], Tensor]) -> Tensor:
    """Every chunk's queries over its own text."""
    if len(chunks) == 1:
        return attend_chunk(q, chunks[0])
    parts = q.split([chunk.count for chunk in chunks])
    return torch.cat([attend_chunk(part, chunk) for part, chunk in zip(parts, chunks, strict=True)])


def _end(chunk: Chunk) -> int:
    return chunk.first + chunk.count


def _copy(source: KeyValueCache, target: KeyValueCache, part: Chunk, row: int) -> None:
    """The tokens of `part` from one cache to sequence `row` of another, one of them in the computed dtype."""
    if part.count <= 0:
        return
    wide = source if source.scales is None else target
    keys, values = source.read(part.row, part.first, _end(part), wide.keys.dtype)
    positions = torch.arange(part.first, _end(part), device=keys.device)
    rows = torch.full_like(positions, row)
    target.write(keys.transpose(0, 1), values.transpose(0, 1), positions, rows)
