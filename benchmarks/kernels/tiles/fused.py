"""The decode kernel as a session launches it, with a norm, an activation or a residual, with other tiles.

    python -m benchmarks.kernels.tiles.fused --schemes int4-64 --rows 1 16 --seconds 120 [--only Llama-8B]

In bfloat16. A product that is fed gets its rows halfway through the norm, one that feeds leaves them so.

Every product is compared with that of the tile in use before it is timed; the table names the fastest of
those whose programs take whole blocks, and of those whose programs share them (`kernels.shared_blocks`).
"""

import argparse
import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from benchmarks._table import hardware, table
from benchmarks.decode_layer import scaled_rows
from benchmarks.kernels.layers import SCHEMES, Scheme
from benchmarks.kernels.measure import prepared_copies
from benchmarks.kernels.tiles.sweep import time_of
from benchmarks.kernels.timing import Budget
from benchmarks.kernels.warm import usual_workers
from benchmarks.kernels.weights import random_rows, random_weights, relative_error
from benchmarks.kernels.work import TOLERANCES
from kernels.epilogue import Epilogue, Norm
from kernels.gpu import TritonMatrix
from kernels.lane_layout import step_of
from kernels.tiles import Gpu, Tile, choose_tile
from kernels.tuning import candidates

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from kernels.decode_plan import DecodePlan

FEW_OUTPUTS = 2048
DTYPE = torch.bfloat16


@dataclass(frozen=True)
class Product:
    """One product of a layer with what a session has in its launch."""

    name: str
    n: int
    k: int
    norm: bool = False
    fed: bool = False
    gated: bool = False
    feeds: bool = False

    def tiles(self, scheme: Scheme, rows: int, gpu: Gpu) -> tuple[Tile, ...]:
        """The tile in use, then others."""
        own = choose_tile(scheme.bits, scheme.group_size, rows, self.n, self.k, gpu=gpu, paired=self.gated)
        tried = candidates(own, -(-self.k // step_of(scheme.bits)), paired=self.gated)
        if rows > 8 or self.gated:
            return tried
        return tuple(dict.fromkeys([*tried, *MORE_TILES]))

    def epilogue(self, rows: int, dtype: torch.dtype) -> Epilogue:
        weight = torch.ones(self.k, dtype=dtype, device="cuda")
        residual = random_rows(rows, self.n, dtype, "cuda") if self.feeds else None
        norm = Norm(weight, 1e-5) if self.norm or self.fed else None
        if norm is not None and self.fed:
            x = random_rows(rows, self.k, dtype, "cuda")
            norm = replace(norm, scaled=scaled_rows(x))
        return Epilogue(None, residual, "silu" if self.gated else None, norm)


PRODUCTS = (
    Product("Llama-8B qkv", 6144, 4096),
    Product("Llama-8B qkv, fed", 6144, 4096, fed=True),
    Product("Llama-8B o, feeds", 4096, 4096, feeds=True),
    Product("Llama-8B gate_up, fed, silu", 28672, 4096, fed=True, gated=True),
    Product("Llama-8B down, feeds", 4096, 14336, feeds=True),
    Product("Llama-70B qkv, fed", 10240, 8192, fed=True),
    Product("Llama-70B o, feeds", 8192, 8192, feeds=True),
    Product("Llama-70B gate_up, fed, silu", 57344, 8192, fed=True, gated=True),
    Product("Llama-70B down, feeds", 8192, 28672, feeds=True),
    *(
        Product(f"{model} {name}", n * hidden, k * hidden)
        for model, hidden in (("OPT-30B", 7168), ("OPT-66B", 9216), ("OPT-175B", 12288))
        for name, n, k in (("qkv", 3, 1), ("o", 1, 1), ("fc1", 4, 1), ("fc2", 1, 4))
    ),
    Product("Llama-8B qkv, norm", 6144, 4096, norm=True),
)
# Beside those of the tuner.
MORE_TILES = (
    Tile(1, 1, 4, 1, 4),
    Tile(1, 1, 4, 2, 4),
    Tile(1, 1, 4, 1, 4, stream=True),
)


@dataclass(frozen=True)
class Asked:
    """One product in one scheme at so many rows."""

    product: Product
    scheme: str
    rows: int


def plan_of(matrix: TritonMatrix, tile: Tile, product: Product) -> "DecodePlan":
    from kernels.decode_plan import DecodePlan

    return DecodePlan(matrix.lanes, tile, matrix.gpu, paired=product.gated)


def multiply_of(matrix: TritonMatrix, tile: Tile, asked: Asked) -> "Callable[[Tensor], Tensor]":
    """x → the result of one launch."""
    product = asked.product
    plan = plan_of(matrix, tile, product)
    epilogue = product.epilogue(asked.rows, DTYPE)
    if not product.feeds:
        return partial(plan.multiply, epilogue=epilogue)
    following = torch.ones(product.n, dtype=DTYPE, device="cuda")
    return lambda x: plan.multiply_and_scale(x, epilogue, following)[0]


def matrices_of(asked: Asked) -> list[TritonMatrix]:
    product = asked.product
    weights = random_weights(product.n, product.k, SCHEMES[asked.scheme], DTYPE, "cuda")
    return [matrix for matrix in prepared_copies(weights) if isinstance(matrix, TritonMatrix)]


def compile_ahead(share: Sequence[tuple[Asked, Tile]]) -> None:
    """Launch each once on fewer outputs, of which no kernel knows: what is compiled stays in the cache."""
    for large, tile in share:
        asked = replace(large, product=replace(large.product, n=FEW_OUTPUTS))
        matrix = matrices_of(asked)[0]
        x = random_rows(asked.rows, asked.product.k, DTYPE, "cuda")
        try:
            multiply_of(matrix, tile, asked)(x)
        except Exception as problem:  # noqa: BLE001
            print(f"{asked.product.name} {astuple(tile)}: {problem}", flush=True)
    torch.cuda.synchronize()


def measure(asked: Asked, gpu: Gpu) -> Iterator[tuple[Tile, float]]:
    """Tiles and their microseconds, the one in use first; a tile that gives other numbers is left out."""
    matrices = matrices_of(asked)
    x = random_rows(asked.rows, asked.product.k, DTYPE, "cuda")
    expected: Tensor | None = None
    for tile in asked.product.tiles(SCHEMES[asked.scheme], asked.rows, gpu):
        torch.manual_seed(0)  # what is added is the same for every tile
        calls = [multiply_of(matrix, tile, asked) for matrix in matrices]
        out = calls[0](x)
        expected = out.double() if expected is None else expected
        if relative_error(out, expected) > 2 * TOLERANCES[DTYPE]:
            print(f"{asked.product.name} {astuple(tile)}: WRONG", flush=True)
            continue
        yield tile, time_of(calls, x)


def fastest(times: dict[Tile, float], *, stream: bool) -> Tile | None:
    """The one that took least of those that share blocks, or of those that do not."""
    return min((tile for tile in times if tile.stream is stream), key=times.__getitem__, default=None)


def name_of(tile: Tile) -> str:
    return "x".join(map(str, astuple(tile)[:-1])) + (" shared" if tile.stream else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1])
    parser.add_argument("--schemes", nargs="+", choices=list(SCHEMES), default=["int4-64"])
    parser.add_argument("--only", default="", help="products whose name begins like this")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--workers", type=int, default=usual_workers(), help="processes that compile ahead")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("Tiles are timed on a GPU, and there is none here.")
    budget = Budget(given.seconds)
    device = torch.cuda.get_device_properties(0)
    gpu = Gpu(10 * device.major + device.minor, device.multi_processor_count)
    wanted = [
        Asked(product, scheme, rows)
        for scheme in given.schemes
        for rows in given.rows
        for product in PRODUCTS
        if product.name.startswith(given.only)
    ]
    jobs = [(one, tile) for one in wanted for tile in one.product.tiles(SCHEMES[one.scheme], one.rows, gpu)]
    with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
        pool.map(compile_ahead, [jobs[i :: given.workers] for i in range(given.workers)], chunksize=1)
    lines = []
    for one in wanted:
        if not budget.allows(f"{one.product.name} {one.scheme} M={one.rows}"):
            continue
        times = dict(measure(one, gpu))
        kinds = [next(iter(times)), *(fastest(times, stream=stream) for stream in (False, True))]
        cells = [(f"{times[tile]:.1f}", name_of(tile)) if tile else ("", "") for tile in kinds]
        lines.append((f"{one.product.name} {one.scheme}", str(one.rows), *itertools.chain(*cells)))
    print(hardware(torch.device("cuda")))
    print(table(("product", "M", "µs in use", "tile", "whole blocks", "tile", "shared", "tile"), lines))
    print(*(f"no time was left for {what}" for what in budget.left_out), sep="\n")


if __name__ == "__main__":
    main()
