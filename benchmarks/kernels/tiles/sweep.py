"""The tiles of the ring and the decode kernel on one layer: checked, then timed beside cuBLAS and ours."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks.kernels.layers import SCHEMES, Layer, Scheme
from benchmarks.kernels.measure import matmul_of, multiply_of, prepared_copies
from benchmarks.kernels.timing import Budget, calls_in_graph, copies_of, microseconds_of
from benchmarks.kernels.weights import checked_error, random_rows, random_weights
from benchmarks.kernels.work import TOLERANCES, sentence_of
from kernels.gpu import LARGEST_DECODE, TritonMatrix
from kernels.tiles import Tile, choose_tile, row_bucket
from kernels.tuning import candidates

if TYPE_CHECKING:
    from kernels.ring_tiles import RingTile

ROWS = (1, 8, 16, 32, 64, 128, 256)
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
CUBLAS, OURS = "cublas", "ours"
SMALL_LAYER = Layer("small", "square", 1024, 1024)  # what compiles for it serves every layer


@dataclass(frozen=True)
class Timed:
    """Microseconds of one product; `design` is cuBLAS, ours or a tile, `problem` why there is no time."""

    layer: str
    scheme: str
    rows: int
    design: str
    microseconds: float | None
    problem: str = ""


def ring_tiles(rows: int, bits: int) -> "tuple[RingTile, ...]":
    """Tiles to try for so many rows of x: filled by them, or half as many."""
    from kernels.ring_tiles import RingTile

    tiles = (
        RingTile(8, 4, 1, 4, 4, 4, sums=True),
        RingTile(8, 4, 1, 5, 4, 3, sums=True),
        RingTile(8, 4, 2, 5, 4, 2, sums=True),
        RingTile(8, 8, 1, 5, 4, 2, sums=True),
        RingTile(16, 8, 1, 4, 4, 2, sums=True),
        RingTile(16, 4, 1, 3, 4, 4, sums=True),
        RingTile(16, 4, 1, 4, 4, 3, sums=True),
        RingTile(16, 4, 2, 4, 4, 2, sums=True),
        RingTile(16, 8, 1, 6, 4, 1, sums=True),
        RingTile(32, 8, 1, 3, 4, 2),
        RingTile(32, 4, 2, 3, 4, 2, sums=True),
        RingTile(32, 4, 2, 3, 2, 2),
        RingTile(32, 8, 1, 5, 4, 1, sums=True),
        RingTile(64, 8, 1, 2, 2, 2),
        RingTile(64, 8, 1, 2, 4, 2),
        RingTile(64, 4, 1, 2, 2, 2),
        RingTile(64, 4, 2, 2, 2, 2),
        RingTile(64, 8, 1, 4, 4, 1),
        RingTile(64, 8, 2, 3, 2, 1),
        RingTile(128, 8, 1, 2, 2, 1),
        RingTile(128, 8, 1, 2, 4, 1),
        RingTile(128, 4, 1, 1, 1, 2),
        RingTile(128, 8, 2, 2, 2, 1),
        RingTile(256, 8, 1, 1, 1, 1),
        RingTile(256, 8, 1, 1, 2, 1),
    )
    largest = min(256, row_bucket(rows))
    fitting = [tile for tile in tiles if largest // 2 <= tile.rows <= largest]
    return tuple(dict.fromkeys(tile.of_bits(bits) for tile in fitting))


def name_of(tile: Any) -> str:
    """A tile in one word: 64x4x2/3x2 p2, rows x warps x row tiles / steps x blocks of a stage, programs."""
    name = f"{tile.rows}x{tile.warps}x{tile.row_tiles}/{tile.depth}x{tile.stage_blocks}"
    return f"{name} p{tile.programs}{' sums' if tile.sums else ''}"


def decode_tiles(matrix: TritonMatrix, rows: int) -> tuple[Tile, ...]:
    """What the tuner would try, and more programs; without the tile that is used."""
    w = matrix.lanes
    chosen = choose_tile(w.bits, w.group_size, rows, w.n, w.k, gpu=matrix.gpu)
    tried = candidates(chosen, w.steps, paired=False)
    lasting = [tile for tile in tried if tile.programs == 2]
    more = [replace(tile, programs=count) for tile in lasting for count in (3, 4)]
    more += [replace(tile, unroll=2) for tile in lasting]
    return tuple(tile for tile in dict.fromkeys((*tried, *more)) if tile != chosen)


def time_of(copies: Sequence[Callable[[Tensor], Tensor]], x: Tensor) -> float:
    """Microseconds of one product of x with one of `copies`, which take turns."""
    calls = [partial(multiply, x) for multiply in copies]
    return microseconds_of(calls * (calls_in_graph(len(copies), x.shape[0]) // len(copies)))


def tiles_of(
    matrices: Sequence[TritonMatrix], rows: int, kernels: Sequence[str]
) -> Iterator[tuple[str, Callable[[], list[Callable[[Tensor], Tensor]]]]]:
    """(name, what makes its products) of the kernels that are used and of each tile of these kernels."""
    from kernels.decode_plan import DecodePlan
    from kernels.ring_plan import RingPlan

    yield OURS, lambda: [multiply_of(matrix) for matrix in matrices]
    for tile in ring_tiles(rows, matrices[0].lanes.bits) if "ring" in kernels else ():

        def products(tile: "RingTile" = tile) -> list[Callable[[Tensor], Tensor]]:
            plans = [RingPlan(matrix.lanes, tile, matrix.gpu.multiprocessors, rows) for matrix in matrices]
            return [partial(plan.multiply, bias=None) for plan in plans]

        yield name_of(tile), products
    if "decode" in kernels and rows <= LARGEST_DECODE:
        for other in decode_tiles(matrices[0], rows):

            def decoded(other: Tile = other) -> list[Callable[[Tensor], Tensor]]:
                plans = [DecodePlan(matrix.lanes, other, matrix.gpu) for matrix in matrices]
                return [plan.multiply for plan in plans]

            yield f"decode {'x'.join(str(part) for part in astuple(other))}", decoded


def measure(
    layer: Layer,
    scheme: Scheme,
    dtype: torch.dtype,
    rows: Iterable[int],
    budget: Budget,
    *,
    kernels: Sequence[str],
) -> Iterator[Timed]:
    """cuBLAS, ours and every tile on one layer; what fails or is wrong says so in place of its time."""
    weights = random_weights(layer.n, layer.k, scheme, dtype, "cuda")
    matrices = [matrix for matrix in prepared_copies(weights) if isinstance(matrix, TritonMatrix)]
    reference = weights.dequantize(torch.float32)
    plain = [matmul_of(reference.to(dtype)) for _ in range(copies_of(2 * layer.n * layer.k))]
    for m in rows:
        x = random_rows(m, layer.k, dtype, "cuda")
        yield Timed(layer.label, scheme.label, m, CUBLAS, time_of(plain, x))
        for name, products in tiles_of(matrices, m, kernels):
            if not budget.allows(f"{layer.label} M={m} {name}"):
                return
            timed = partial(Timed, layer.label, scheme.label, m, name)
            try:
                copies = products()
                error = checked_error(copies[0], x, reference)
                if not error <= TOLERANCES[dtype]:
                    yield timed(None, f"WRONG: relative error {error:.1e}")
                    continue
                yield timed(time_of(copies, x))
            except ValueError:
                continue  # the tile does not suit this matrix
            except Exception as problem:  # noqa: BLE001 — one tile that fails must not hide the others
                yield timed(None, sentence_of(problem))


def compile_tile(place: tuple[int, int, str, str]) -> None:
    """Call every tile of so many rows once, every `shares`-th of them. A failure shows where it is timed."""
    share, shares, scheme, dtype = place
    from kernels.ring_plan import RingPlan

    weights = random_weights(SMALL_LAYER.n, SMALL_LAYER.k, SCHEMES[scheme], DTYPES[dtype], "cuda")
    matrix = prepared_copies(weights)[0]
    tiles = dict.fromkeys(tile for rows in ROWS for tile in ring_tiles(rows, SCHEMES[scheme].bits))
    for tile in list(tiles)[share::shares]:
        try:
            if isinstance(matrix, TritonMatrix):
                plan = RingPlan(matrix.lanes, tile, matrix.gpu.multiprocessors, tile.rows)
                plan.multiply(random_rows(tile.rows, SMALL_LAYER.k, DTYPES[dtype], "cuda"), None)
        except Exception as problem:  # noqa: BLE001
            print(f"{name_of(tile)}: {sentence_of(problem)}", flush=True)
    torch.cuda.synchronize()
