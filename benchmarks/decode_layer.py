"""One layer of a decode step put together launch by launch: what each part adds to the bare products.

    python -m benchmarks.decode_layer [--models llama-3-8b llama-3-70b] [--batches 1 16] [--context 128]

Random weights of several layers, more than L2 holds, in a CUDA graph, each launch fed by the one before. The
first line is what `benchmarks.kernels` calls the chain; every line has all that the lines above it have; the
last one is what a session launches for a layer. Limit: the bytes of the products at the speed of a long read.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

import kernels
from benchmarks._table import hardware, table
from benchmarks.kernels.layers import Scheme
from benchmarks.kernels.timing import microseconds_of
from benchmarks.kernels.weights import random_rows, random_weights
from kernels import KeyValueCache, Norm, ScaledRows
from kernels.prepared import PreparedMatrix

Attend = Callable[..., Tensor]  # takes what `kernels.rotate_and_attend` does
LAYERS = 6  # in a graph
READ_BYTES = 512 << 20


@dataclass(frozen=True)
class Shape:
    """A layer of the Llama family."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """(n, k) of qkv, o, gate and up, down."""
        mixed = self.heads * self.head_dim
        qkv = mixed + 2 * self.kv_heads * self.head_dim
        return (
            (qkv, self.hidden),
            (self.hidden, mixed),
            (2 * self.inner, self.hidden),
            (self.hidden, self.inner),
        )


MODELS = {
    "llama-3-8b": Shape(4096, 32, 8, 128, 14336),
    "llama-3-70b": Shape(8192, 64, 8, 128, 28672),
    "tiny": Shape(256, 4, 2, 64, 512),
}


@dataclass(frozen=True)
class Stage:
    """A layer with the parts up to one of them."""

    name: str
    dtype: torch.dtype
    group: int
    residual: bool = False
    activation: bool = False
    norm: bool = False
    fed: bool = False  # each norm's first half is made by the product before it
    rotation: bool = False
    attention: bool = False


BARE = Stage("products, float16, groups of 128", torch.float16, 128)
BFLOAT16 = replace(BARE, name="in bfloat16", dtype=torch.bfloat16)
GROUPS = replace(BFLOAT16, name="in groups of 64", group=64)
RESIDUALS = replace(GROUPS, name="+ residuals", residual=True)
ACTIVATION = replace(RESIDUALS, name="+ activation", activation=True)
NORMS = replace(ACTIVATION, name="+ norms", norm=True)
FED = replace(NORMS, name="+ norms fed by the product before", fed=True)
ROTATION = replace(FED, name="+ rotary positions, keys and values stored", rotation=True)
ATTENTION = replace(ROTATION, name="+ attention", attention=True)
STAGES = (BARE, BFLOAT16, GROUPS, RESIDUALS, ACTIVATION, NORMS, FED, ROTATION, ATTENTION)


@dataclass(frozen=True)
class Weights:
    """What one layer holds on the device."""

    products: tuple[PreparedMatrix, ...]
    norms: tuple[Norm, Norm]
    cache: KeyValueCache


@dataclass(frozen=True)
class Step:
    """The new token of each text: its row of the residual stream, and where it stands."""

    x: Tensor
    scaled: ScaledRows
    angles: Tensor
    positions: Tensor
    lengths: Tensor


def weights_of(shape: Shape, stage: Stage, batch: int, context: int, device: str) -> Weights:
    """Random ones of one layer."""
    scheme = Scheme(4, stage.group)
    products = tuple(
        kernels.prepare(random_weights(n, k, scheme, stage.dtype, device).packed(), device, stage.dtype)
        for n, k in shape.products
    )
    ones = partial(torch.ones, shape.hidden, dtype=stage.dtype, device=device)
    cache = KeyValueCache.empty(
        batch, shape.kv_heads, context, shape.head_dim, dtype=stage.dtype, device=device
    )
    for part in (cache.keys, cache.values):
        if part is not None:
            part.normal_()
    return Weights(products, (Norm(ones(), 1e-5), Norm(ones(), 1e-5)), cache)


def scaled_rows(x: Tensor) -> ScaledRows:
    """x `[M, K]` as a product before leaves it for a norm whose weights are 1."""
    return ScaledRows(x.clone(), x.float().square().unflatten(1, (-1, 16)).sum(-1))


def run(
    shape: Shape, stage: Stage, weights: Weights, step: Step, attend: Attend = kernels.rotate_and_attend
) -> Tensor:
    """The launches of one layer; what a stage leaves out passes its input on, cut to the width asked for."""
    qkv, last, gate_up, down = weights.products
    x = step.x
    before, between = weights.norms if stage.norm else (None, None)
    if stage.fed and before is not None:
        before = replace(before, scaled=step.scaled)
    mixed = kernels.linear(x, qkv, norm=before)
    if stage.attention:
        mixed = attend(
            mixed, step.angles, step.angles, step.positions, step.lengths, weights.cache, heads=shape.heads,
            scale=shape.head_dim**-0.5,
        )  # fmt: skip
    elif stage.rotation:
        mixed = kernels.rotate_and_store(
            mixed, step.angles, step.angles, step.positions, weights.cache, heads=shape.heads
        )
    mixed = mixed.flatten(1)[:, : last.k]
    if stage.fed and between is not None:
        x, made = kernels.linear_and_scaled(mixed, last, residual=x, following=between)
        between = replace(between, scaled=made)
    else:
        x = kernels.linear(mixed, last, residual=x if stage.residual else None)
    inner = kernels.linear(x, gate_up, activation="silu" if stage.activation else None, norm=between)
    if stage.fed:
        return kernels.linear_and_scaled(inner, down, residual=x, following=weights.norms[0])[0]
    return kernels.linear(inner[:, : down.k], down, residual=x if stage.residual else None)


def microseconds(  # noqa: PLR0917 — a layer and what it meets
    shape: Shape,
    stage: Stage,
    batch: int,
    context: int,
    device: str,
    attend: Attend = kernels.rotate_and_attend,
) -> tuple[float, int]:
    """The middle time of a layer, and the bytes of its packed matrices."""
    layers = [weights_of(shape, stage, batch, context, device) for _ in range(LAYERS)]
    x = random_rows(batch, shape.hidden, stage.dtype, device)
    step = Step(
        x,
        scaled_rows(x),
        torch.rand((context, shape.head_dim // 2), device=device),
        torch.full((batch,), context - 1, device=device),
        torch.full((batch,), context, dtype=torch.int32, device=device),
    )
    calls: list[Callable[[], object]] = [partial(run, shape, stage, layer, step, attend) for layer in layers]
    return microseconds_of(calls), sum(matrix.bytes for matrix in layers[0].products)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["llama-3-8b"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--context", type=int, default=256, help="tokens in the cache")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("The launches of a layer are timed on a GPU, and there is none here.")
        return 2
    from benchmarks.kernels.roof import read_curve

    bandwidth = read_curve((READ_BYTES,), dependent=False)[0]
    print(hardware(torch.device("cuda")))
    for model in given.models:
        for batch in given.batches:
            lines = []
            for stage in STAGES:
                taken, size = microseconds(MODELS[model], stage, batch, given.context, "cuda")
                lines.append((stage.name, f"{taken:.1f}", f"{bandwidth[1] * size / bandwidth[0]:.1f}"))
            print(f"\n{model}, int4, batch {batch}, {given.context} tokens in the cache")
            print(table(("launches of a layer", "µs", "limit µs"), lines), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
