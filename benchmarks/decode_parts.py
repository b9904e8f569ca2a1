"""Time of each kernel between the matmuls of a decode step, against the bytes that it must read and write.

    python -m benchmarks.decode_parts [--models llama-3-8b …] [--batches 1 16] [--contexts 128 2048 16384]
                                      [--json FILE] [--budget SECONDS]

FILE is written after every line, so that a run that is cut off leaves what it had.
On a GPU each call runs in a CUDA graph over copies of what it reads, more than L2 holds, and the middle of
several replays counts; limit is the time of a kernel that only reads as many bytes, measured in the same
run. Without a GPU plain torch is timed, without a limit. int8: a cache of codes.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

import kernels
from benchmarks._table import hardware, table
from benchmarks.cpu_matmul import microseconds_of as microseconds_on_cpu
from kernels import Filters, KeyValueCache

DTYPE = torch.bfloat16
QUICK_SIZES = (1 << 20, 4 << 20, 8 << 20, 16 << 20, 31 << 20, 60 << 20, 108 << 20, 320 << 20)


@dataclass(frozen=True)
class Shape:
    """What a layer of a model looks like between its matmuls; `experts` (all, a token's, their width)."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    latent: int = 0
    experts: tuple[int, int, int] = (0, 0, 0)


MODELS = {
    "llama-3-8b": Shape(4096, 32, 8, 128, 128_256),
    "opt-30b": Shape(7168, 56, 56, 128, 50_272),
    "qwen3-30b-a3b": Shape(2048, 32, 4, 128, 151_936, experts=(128, 8, 768)),
    "deepseek-v3": Shape(7168, 128, 1, 576, 129_280, latent=512, experts=(256, 8, 2048)),
    "tiny": Shape(64, 4, 2, 16, 512, experts=(8, 2, 32)),
}
USUAL = ("llama-3-8b", "opt-30b", "qwen3-30b-a3b", "deepseek-v3")


@dataclass(frozen=True)
class Part:
    """One kernel at one size: what it moves, and how to make a call on memory of its own."""

    name: str
    bytes: int
    call: Callable[[], Callable[[], object]]


@dataclass(frozen=True)
class Line:
    model: str
    batch: int
    part: str
    bytes: int
    microseconds: float
    limit: float | None


def parts_of(shape: Shape, batch: int, contexts: Sequence[int], device: str) -> Iterator[Part]:
    """Every kernel of one decode step of `batch` texts."""
    random = partial(torch.randn, device=device)
    for context in contexts:
        for dtype in (DTYPE, torch.int8):
            yield attention(shape, batch, context, dtype, device)
    yield rotation(shape, batch, device)
    rows = (batch, shape.hidden)
    weight = torch.ones(shape.hidden, dtype=DTYPE, device=device)
    yield Part(
        "norm + residual", 4 * 2 * batch * shape.hidden,
        lambda: partial(
            kernels.norm, random(rows, dtype=DTYPE), weight, eps=1e-5, residual=random(rows, dtype=DTYPE)
        ),
    )  # fmt: skip
    yield from choices(shape, batch, device)
    if shape.experts[0]:
        yield from routing(shape, batch, device)


def attention(shape: Shape, batch: int, context: int, dtype: torch.dtype, device: str) -> Part:
    """`kernels.attend` over a full cache."""

    def call() -> Callable[[], object]:
        cache = KeyValueCache.empty(
            batch, shape.kv_heads, context, shape.head_dim, latent=shape.latent, dtype=dtype, device=device
        )
        for part in (cache.keys, cache.values):
            if part is not None and dtype == torch.int8:
                part.random_(-127, 128)
            elif part is not None:
                part.normal_()
        for scale in cache.scales or ():
            scale.uniform_(0.001, 0.02)
        q = torch.randn((batch, shape.heads, shape.head_dim), dtype=DTYPE, device=device)
        lengths = torch.full((batch,), context, dtype=torch.int32, device=device)
        return partial(kernels.attend, q, cache, lengths, scale=shape.head_dim**-0.5)

    size = KeyValueCache.empty(
        batch, shape.kv_heads, context, shape.head_dim, latent=shape.latent, dtype=dtype, device="meta"
    ).bytes
    return Part(f"attend {context}{' int8' if dtype == torch.int8 else ''}", size, call)


def rotation(shape: Shape, batch: int, device: str) -> Part:
    """`kernels.rotate_and_store`, or its latent form, at the end of a cache of 128 tokens."""
    positions = torch.full((batch,), 127, device=device)
    pairs = (shape.head_dim - shape.latent) // 2
    angles = torch.rand((128, pairs), device=device)

    def call() -> Callable[[], object]:
        cache = KeyValueCache.empty(
            batch, shape.kv_heads, 128, shape.head_dim, latent=shape.latent, dtype=DTYPE, device=device
        )
        if shape.latent:
            q = torch.randn((batch, shape.heads, 2 * pairs), dtype=DTYPE, device=device)
            queries = torch.zeros((batch, shape.heads, shape.head_dim), dtype=DTYPE, device=device)
            row = torch.randn((batch, shape.head_dim), dtype=DTYPE, device=device)
            weight = torch.ones(shape.latent, dtype=DTYPE, device=device)
            return partial(
                kernels.rotate_and_store_latent, q, row, queries, angles, angles, positions, cache,
                weight=weight,
            )  # fmt: skip
        fused = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
        qkv = torch.randn((batch, fused), dtype=DTYPE, device=device)
        return partial(kernels.rotate_and_store, qkv, angles, angles, positions, cache, heads=shape.heads)

    columns = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    if shape.latent:
        columns = shape.heads * 2 * pairs + shape.head_dim
    return Part("rotate and store", 2 * 2 * batch * columns, call)


def choices(shape: Shape, batch: int, device: str) -> Iterator[Part]:
    """`kernels.choose`: greedy, drawn, and with the filters that cost something."""
    count = batch * shape.vocabulary
    full = partial(torch.full, (batch,), device=device)
    temperature, top_p = full(0.7), full(0.95)
    top_k = full(50, dtype=torch.int32)
    ways = {
        "choose greedily": (Filters(), 2),
        "choose": (Filters(temperature), 6),
        "choose top-p": (Filters(temperature, top_p=top_p), 6),
        "choose top-k, top-p": (Filters(temperature, top_k, top_p), 6),
    }

    def call(filters: Filters) -> Callable[[], object]:
        logits = 3 * torch.randn((batch, shape.vocabulary), dtype=DTYPE, device=device)
        noise = torch.empty((batch, shape.vocabulary), device=device).exponential_(1)
        return partial(kernels.choose, logits, filters, None if filters.greedy else noise)

    for name, (filters, width) in ways.items():
        yield Part(name, width * count, partial(call, filters))


def routing(shape: Shape, batch: int, device: str) -> Iterator[Part]:
    """`kernels.router_scores`, `route`, `gate` and `combine`."""
    experts, k, width = shape.experts
    random = partial(torch.randn, dtype=DTYPE, device=device)
    rows = batch * k
    yield Part(
        "router scores", 2 * experts * shape.hidden,
        lambda: partial(kernels.router_scores, random(batch, shape.hidden), random(experts, shape.hidden)),
    )  # fmt: skip
    yield Part("route", 2 * batch * experts, lambda: partial(kernels.route, random(batch, experts), k))
    yield Part("gate", 2 * 3 * rows * width, lambda: partial(kernels.gate, random(rows, 2 * width)))
    weight = torch.rand((batch, k), device=device)
    moved = 2 * (rows + 2 * batch) * shape.hidden
    yield Part(
        "combine", moved,
        lambda: partial(
            kernels.combine, random(rows, shape.hidden), weight, residual=random(batch, shape.hidden)
        ),
    )  # fmt: skip


def microseconds(part: Part, device: str) -> float:
    """The middle time of one call."""
    if device == "cpu":
        return microseconds_on_cpu(part.call())
    from benchmarks.kernels.timing import calls_in_graph, copies_of, microseconds_of

    copies = min(64, copies_of(part.bytes))
    calls = [part.call() for _ in range(copies)]
    return microseconds_of(calls * (calls_in_graph(copies, 1) // copies))


def read_limit(device: str) -> Callable[[int], float] | None:
    """Microseconds to read so many bytes on this GPU."""
    if device == "cpu":
        return None
    from benchmarks.kernels.points import along
    from benchmarks.kernels.roof import read_curve

    dependent = torch.cuda.get_device_capability() >= (9, 0)
    curve = read_curve(QUICK_SIZES, dependent=dependent)
    return partial(along, curve)


def measure(
    models: Sequence[str], batches: Sequence[int], contexts: Sequence[int], device: str
) -> Iterator[Line]:
    """A line for every kernel, size and model."""
    limit = read_limit(device)
    for model in models:
        for batch in batches:
            for part in parts_of(MODELS[model], batch, contexts, device):
                taken = microseconds(part, device)
                yield Line(model, batch, part.name, part.bytes, taken, limit and limit(part.bytes))


def cells(line: Line) -> Sequence[str]:
    """One row of the table."""
    share = ("", "") if line.limit is None else (f"{line.limit:.2f}", f"{line.limit / line.microseconds:.0%}")
    speed = line.bytes / line.microseconds / 1e3
    return (
        line.part, line.model, str(line.batch), f"{line.bytes / 2**20:.2f}", f"{line.microseconds:.2f}",
        f"{speed:.0f}", *share,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--contexts", nargs="+", type=int)
    parser.add_argument("--json", type=Path, help="write what was measured")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="begin no line after these")
    given = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    on_gpu = device == "cuda"
    models = given.models or (USUAL if on_gpu else ["tiny"])
    contexts = given.contexts or ([128, 2048, 16384] if on_gpu else [128])
    begun = time.monotonic()
    lines = []
    for line in measure(models, given.batches, contexts, device):
        lines.append(line)
        if given.json:
            given.json.write_text(json.dumps([asdict(each) for each in lines], indent=1) + "\n")
        if given.budget is not None and time.monotonic() - begun > given.budget:
            print(f"cut off after {given.budget:.0f} s, with {line.model}: {line.part}")
            break
    header = ("part", "model", "batch", "MiB", "µs", "GB/s", "limit µs", "of limit")
    print(hardware(torch.device(device)))
    print(table(header, [cells(line) for line in lines]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
