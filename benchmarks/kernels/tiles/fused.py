"""The decode kernel as a session launches it, with a norm, an activation or a residual, with other tiles.

    python -m benchmarks.kernels.tiles.fused --schemes int4-64 --dtype bf16 --rows 1 16 --seconds 120

Every product is compared with that of the tile in use before it is timed; the table names the fastest.
"""

import argparse
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from benchmarks._table import hardware, table
from benchmarks.kernels.layers import SCHEMES, Scheme
from benchmarks.kernels.measure import prepared_copies
from benchmarks.kernels.tiles.sweep import DTYPES, time_of
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
    from torch import Tensor

    from kernels.decode_plan import DecodePlan

FEW_OUTPUTS = 2048


@dataclass(frozen=True)
class Product:
    """One product of a layer with what a session has in its launch."""

    name: str
    n: int
    k: int
    norm: bool = False
    gated: bool = False

    def tiles(self, scheme: Scheme, rows: int, gpu: Gpu) -> tuple[Tile, ...]:
        """The tile in use, then others."""
        own = choose_tile(scheme.bits, scheme.group_size, rows, self.n, self.k, gpu=gpu, paired=self.gated)
        return candidates(own, -(-self.k // step_of(scheme.bits)), paired=self.gated)

    def epilogue(self, rows: int, dtype: torch.dtype) -> Epilogue:
        weight = torch.ones(self.k, dtype=dtype, device="cuda")
        residual = None if self.norm else random_rows(rows, self.n, dtype, "cuda")
        return Epilogue(
            None, residual, "silu" if self.gated else None, Norm(weight, 1e-5) if self.norm else None
        )


PRODUCTS = (
    Product("Llama-8B qkv, norm", 6144, 4096, norm=True),
    Product("Llama-8B o, residual", 4096, 4096),
    Product("Llama-8B gate_up, norm, silu", 28672, 4096, norm=True, gated=True),
    Product("Llama-8B down, residual", 4096, 14336),
    Product("Llama-70B qkv, norm", 10240, 8192, norm=True),
    Product("Llama-70B gate_up, norm, silu", 57344, 8192, norm=True, gated=True),
)


@dataclass(frozen=True)
class Asked:
    """One product in one scheme at so many rows."""

    product: Product
    scheme: str
    dtype: str
    rows: int


def plan_of(matrix: TritonMatrix, tile: Tile, product: Product) -> "DecodePlan":
    from kernels.decode_plan import DecodePlan

    return DecodePlan(matrix.lanes, tile, matrix.gpu, paired=product.gated)


def matrices_of(asked: Asked) -> list[TritonMatrix]:
    product = asked.product
    weights = random_weights(product.n, product.k, SCHEMES[asked.scheme], DTYPES[asked.dtype], "cuda")
    return [matrix for matrix in prepared_copies(weights) if isinstance(matrix, TritonMatrix)]


def compile_ahead(share: Sequence[tuple[Asked, Tile]]) -> None:
    """Launch each once on fewer outputs, of which no kernel knows: what is compiled stays in the cache."""
    for large, tile in share:
        asked = replace(large, product=replace(large.product, n=FEW_OUTPUTS))
        matrix, dtype = matrices_of(asked)[0], DTYPES[asked.dtype]
        x = random_rows(asked.rows, asked.product.k, dtype, "cuda")
        try:
            plan_of(matrix, tile, asked.product).multiply(x, asked.product.epilogue(asked.rows, dtype))
        except Exception as problem:  # noqa: BLE001
            print(f"{asked.product.name} {astuple(tile)}: {problem}", flush=True)
    torch.cuda.synchronize()


def measure(asked: Asked, gpu: Gpu) -> Iterator[tuple[Tile, float]]:
    """Tiles and their microseconds, the one in use first; a tile that gives other numbers is left out."""
    dtype = DTYPES[asked.dtype]
    matrices = matrices_of(asked)
    x = random_rows(asked.rows, asked.product.k, dtype, "cuda")
    epilogue = asked.product.epilogue(asked.rows, dtype)
    expected: Tensor | None = None
    for tile in asked.product.tiles(SCHEMES[asked.scheme], asked.rows, gpu):
        plans = [plan_of(matrix, tile, asked.product) for matrix in matrices]
        out = plans[0].multiply(x, epilogue)
        expected = out.double() if expected is None else expected
        if relative_error(out, expected) > 2 * TOLERANCES[dtype]:
            print(f"{asked.product.name} {astuple(tile)}: WRONG", flush=True)
            continue
        yield tile, time_of([partial(plan.multiply, epilogue=epilogue) for plan in plans], x)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1])
    parser.add_argument("--schemes", nargs="+", choices=list(SCHEMES), default=["int4-64"])
    parser.add_argument("--dtype", choices=list(DTYPES), default="bf16")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--workers", type=int, default=usual_workers(), help="processes that compile ahead")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("Tiles are timed on a GPU, and there is none here.")
    budget = Budget(given.seconds)
    device = torch.cuda.get_device_properties(0)
    gpu = Gpu(10 * device.major + device.minor, device.multi_processor_count)
    wanted = [
        Asked(product, scheme, given.dtype, rows)
        for scheme in given.schemes
        for rows in given.rows
        for product in PRODUCTS
    ]
    jobs = [(one, tile) for one in wanted for tile in one.product.tiles(SCHEMES[one.scheme], one.rows, gpu)]
    with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
        pool.map(compile_ahead, [jobs[i :: given.workers] for i in range(given.workers)], chunksize=1)
    lines = []
    for one in wanted:
        if not budget.allows(f"{one.product.name} {one.scheme} M={one.rows}"):
            continue
        times = dict(measure(one, gpu))
        own = next(iter(times))
        best = min(times, key=times.__getitem__)
        lines.append(
            (
                f"{one.product.name} {one.scheme}",
                str(one.rows),
                f"{times[own]:.1f}",
                "x".join(map(str, astuple(own))),
                f"{times[best]:.1f}",
                "x".join(map(str, astuple(best))),
            )
        )
    print(hardware(torch.device("cuda")))
    print(table(("product", "M", "µs in use", "tile", "µs fastest", "tile"), lines))
    print(*(f"no time was left for {what}" for what in budget.left_out), sep="\n")


if __name__ == "__main__":
    main()
