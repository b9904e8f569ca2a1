"""Time of the fused matmuls on the linears of an 8B Llama, against 16-bit cuBLAS and a streaming read.

    python -m benchmarks.kernels [--rows 1 16 64 256 1024] [--schemes int4-64 int3-64] [--json FILE]
    python -m benchmarks.kernels --tiles 60 [--json FILE]     also tries other tiles, for so many seconds

Every call is replayed from a CUDA graph over enough copies of the weights (208 MB and more) that none is in
L2; the middle of many replays. `read` is the time in which a kernel that does nothing else reads the packed
bytes, measured in the same run: no decode can be faster. `x` is cuBLAS over ours.
"""

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

LAYERS = {"qkv": (6144, 4096), "o": (4096, 4096), "gate_up": (28672, 4096), "down": (4096, 14336)}
SCHEMES = {
    "int8-channel": (8, None),
    "int8-64": (8, 64),
    "int4-channel": (4, None),
    "int4-128": (4, 128),
    "int4-64": (4, 64),
    "int4-32": (4, 32),
    "int3-channel": (3, None),
    "int3-64": (3, 64),
}
DEFAULT_SCHEMES = ("int4-64", "int8-channel", "int3-64")
DEFAULT_ROWS = (1, 16, 64, 256, 1024)
COLD_BYTES = 208 << 20  # several times the L2 of any GPU this runs on
DTYPE = torch.bfloat16
TOLERANCE = 4e-3


@dataclass(frozen=True)
class Point:
    """One measured matmul, in microseconds; `tile` is empty where the weights were dequantized for cuBLAS."""

    layer: str
    scheme: str
    rows: int
    microseconds: float
    cublas: float
    read: float
    tile: dict[str, int] = field(default_factory=dict)

    @property
    def speedup(self) -> float:
        return self.cublas / self.microseconds


def microseconds_of(calls: Sequence[Callable[[], object]], replays: int = 25) -> float:
    """Middle time of one call, all of them captured one after the other into one CUDA graph."""
    for call in calls[:2]:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    for _ in range(3):
        graph.replay()
    start, end = (
        [torch.cuda.Event(enable_timing=True) for _ in range(replays)],
        [torch.cuda.Event(enable_timing=True) for _ in range(replays)],
    )
    for before, after in zip(start, end, strict=True):
        before.record()
        graph.replay()
        after.record()
    torch.cuda.synchronize()
    times = [before.elapsed_time(after) for before, after in zip(start, end, strict=True)]
    return median(times) * 1000 / len(calls)


def copies_of(bytes_each: int) -> int:
    return max(2, math.ceil(COLD_BYTES / bytes_each))


def random_packed(n: int, k: int, scheme: str) -> Any:
    """A prepared matrix `[n, k]` with random codes."""
    import kernels
    from kernels.packing import words_per_row

    bits, group_size = SCHEMES[scheme]
    words = words_per_row(k, bits)
    codes = torch.randint(-(2**31), 2**31 - 1, (n, words), dtype=torch.int32, device="cuda")
    scales = (torch.rand(n, 1 if group_size is None else k // group_size, device="cuda") * 0.01 + 0.002).to(
        DTYPE
    )
    return kernels.prepare(kernels.PackedMatrix(codes, scales, bits, group_size, k))


def relative_error(matrix: Any, x: Tensor) -> float:
    """Against the same product in float32."""
    weights = matrix.packed.dequantize(torch.float32)
    reference = x.float() @ weights.mT
    return float((matrix.multiply(x, None).float() - reference).norm() / reference.norm())


def read_microseconds(buffers: Sequence[Tensor]) -> float:
    """Time in which one of `buffers` is read once and nothing else is done."""
    import triton

    from benchmarks._read_kernel import BLOCK, read_kernel

    programs = triton.cdiv(buffers[0].numel(), BLOCK)
    sums = torch.empty(programs, dtype=torch.int32, device="cuda")
    calls = [
        lambda b=buffer: read_kernel[(programs,)](b, sums, b.numel(), BLOCK=BLOCK, num_warps=8)
        for buffer in buffers
    ]
    return microseconds_of(calls)


def cublas_times(rows: Sequence[int]) -> dict[tuple[str, int], float]:
    """Microseconds of 16-bit `x @ w.T` for each layer and number of rows."""
    times = {}
    for layer, (n, k) in LAYERS.items():
        weights = [torch.randn(n, k, device="cuda").to(DTYPE) for _ in range(copies_of(2 * n * k))]
        for m in rows:
            x = torch.randn(m, k, device="cuda").to(DTYPE)
            times[layer, m] = microseconds_of([lambda w=w, x=x: torch.mm(x, w.mT) for w in weights])
    return times


def chosen_tile(matrix: Any, m: int) -> dict[str, int]:
    from kernels.tiles import choose_tile, fused_rows

    packed = matrix.packed
    if m > fused_rows(packed.bits):
        return {}
    return asdict(choose_tile(packed.bits, packed.group_size, m, packed.n, packed.k, gpu=matrix.gpu))


def other_tiles(matrix: Any, m: int) -> list[Any]:
    """Tiles worth trying beside the chosen one."""
    from kernels.tiles import Tile, choose_tile

    packed = matrix.packed
    bits = packed.bits
    chosen = choose_tile(bits, packed.group_size, m, packed.n, packed.k, gpu=matrix.gpu)
    rows = [16] if m <= 16 else [32] if bits == 3 else [32, 64, 128]
    shapes = [
        (32, 4, 3),
        (64, 2, 4),
        (64, 4, 3),
        (64, 4, 4),
        (64, 4, 6),
        (128, 4, 3),
        (128, 8, 3),
        (128, 8, 4),
    ]
    if m <= 8:
        rows = [8, 16]
    if bits == 3:
        shapes = [(32, 4, 2), (64, 4, 2), (64, 4, 3), (64, 8, 3), (128, 4, 2), (128, 8, 2), (128, 8, 3)]
    splits = sorted({1, 2, 4, 8, chosen.split}) if m <= 64 else [1, chosen.split]
    return [
        Tile(r, outputs, chosen.columns, split, warps, stages)
        for (outputs, warps, stages), r, split in itertools.product(shapes, rows, dict.fromkeys(splits))
    ]


def try_tiles(points: list[Point], seconds: float) -> list[Point]:
    """The same points with other tiles, smallest number of rows first, until the time is over."""
    from kernels.gpu import multiply_dequantized
    from kernels.matmul import MatmulPlan
    from kernels.tiles import Tile

    end = time.monotonic() + seconds
    found = []
    for point in sorted(points, key=lambda point: (point.rows, point.scheme)):
        n, k = LAYERS[point.layer]
        first = random_packed(n, k, point.scheme)
        matrices = [first]
        matrices += [random_packed(n, k, point.scheme) for _ in range(copies_of(first.bytes) - 1)]
        x = torch.randn(point.rows, k, device="cuda").to(DTYPE)
        tiles: list[Tile | None] = [*other_tiles(first, point.rows)] if point.rows <= 256 else []
        if point.rows >= 64:
            tiles.append(None)
        for tile in tiles:
            if time.monotonic() > end:
                return found
            try:
                if tile is None:
                    calls = [lambda w=w, x=x: multiply_dequantized(x, w.packed, None) for w in matrices]
                else:
                    plans = [MatmulPlan(w.packed, tile) for w in matrices]
                    calls = [lambda p=plan, x=x: p.multiply(x, None) for plan in plans]
                taken = microseconds_of(calls, replays=9)
            except Exception as error:  # noqa: BLE001 — a tile that does not fit this GPU is skipped, with the reason
                print(f"  {tile}: {type(error).__name__}", file=sys.stderr)
                continue
            found.append(replace(point, microseconds=taken, tile=asdict(tile) if tile else {}))
    return found


def measure(rows: Sequence[int], schemes: Sequence[str]) -> list[Point]:
    """Every layer, scheme and number of rows; each matrix is checked first."""
    cublas = cublas_times(rows)
    points = []
    for (layer, (n, k)), scheme in itertools.product(LAYERS.items(), schemes):
        first = random_packed(n, k, scheme)
        matrices = [first]
        matrices += [random_packed(n, k, scheme) for _ in range(copies_of(first.bytes) - 1)]
        read = read_microseconds([matrix.packed.codes for matrix in matrices])
        for m in rows:
            x = torch.randn(m, k, device="cuda").to(DTYPE)
            error = relative_error(first, x)
            if error > TOLERANCE:
                raise SystemExit(f"{layer} {scheme} M={m} is wrong: relative error {error:.1e}")
            taken = microseconds_of([lambda w=w, x=x: w.multiply(x, None) for w in matrices])
            points.append(Point(layer, scheme, m, taken, cublas[layer, m], read, chosen_tile(first, m)))
    return points


def eager_microseconds() -> float:
    """Host time of one `kernels.linear` call at M = 1, without a graph."""
    import kernels

    matrix = random_packed(4096, 4096, "int4-64")
    x = torch.randn(1, 4096, device="cuda").to(DTYPE)
    times = []
    for _ in range(50):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(20):
            kernels.linear(x, matrix)
        times.append((time.perf_counter() - start) / 20)
    return median(times) * 1e6


def surroundings() -> dict[str, Any]:
    import triton

    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "l2_bytes": properties.L2_cache_size,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton.__version__,
    }


def roof() -> dict[str, float]:
    """Best streaming read and best 16-bit matmul of this GPU, now."""
    buffers = [torch.randint(0, 9, (128 << 20,), dtype=torch.int32, device="cuda") for _ in range(2)]
    read = buffers[0].nbytes / read_microseconds(buffers) / 1e6
    x, w = torch.randn(4096, 4096, device="cuda").to(DTYPE), torch.randn(14336, 4096, device="cuda").to(DTYPE)
    taken = microseconds_of([lambda: torch.mm(x, w.mT)] * 4)
    return {"read_tb_s": read, "matmul_tflop_s": 2 * 4096 * 4096 * 14336 / taken / 1e6}


def print_points(points: Sequence[Point]) -> None:
    print(f"{'scheme':<13}{'layer':<9}{'M':>5}{'us':>9}{'cuBLAS':>9}{'x':>7}{'read':>9}{'of read':>9}  tile")
    for p in points:
        tile = " ".join(map(str, p.tile.values())) or "dequantize + cuBLAS"
        part = f"{p.read / p.microseconds:.0%}"
        numbers = f"{p.microseconds:>9.1f}{p.cublas:>9.1f}{p.speedup:>7.2f}{p.read:>9.1f}{part:>9}"
        print(f"{p.scheme:<13}{p.layer:<9}{p.rows:>5}{numbers}  {tile}")


def print_means(points: Sequence[Point]) -> None:
    """Geometric mean of the speedup over the layers, and the sum of their times."""
    print(f"\n{'scheme':<13}{'M':>5}{'x over cuBLAS':>15}{'sum us':>9}{'cuBLAS us':>11}{'read us':>9}")
    for scheme, m in sorted({(p.scheme, p.rows) for p in points}):
        of_it = [p for p in points if (p.scheme, p.rows) == (scheme, m)]
        mean = math.exp(sum(math.log(p.speedup) for p in of_it) / len(of_it))
        total, cublas, read = (
            sum(getattr(p, name) for p in of_it) for name in ("microseconds", "cublas", "read")
        )
        print(f"{scheme:<13}{m:>5}{mean:>15.2f}{total:>9.1f}{cublas:>11.1f}{read:>9.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=DEFAULT_ROWS)
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=DEFAULT_SCHEMES)
    parser.add_argument(
        "--tiles", type=float, default=0, metavar="SECONDS", help="try other tiles for so long"
    )
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("No CUDA GPU here, so the kernels can't be timed. For the CPU: python -m benchmarks.cpu_matmul")
        return
    torch.manual_seed(0)
    facts = surroundings() | roof()
    print(
        " · ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in facts.items()
        )
    )
    points = measure(options.rows, options.schemes)
    print_points(points)
    print_means(points)
    facts["eager_us"] = eager_microseconds()
    print(f"\none eager call at M=1: {facts['eager_us']:.0f} us of host time")
    tried = try_tiles(points, options.tiles) if options.tiles else []
    best = {}
    for p in tried:
        key = (p.scheme, p.layer, p.rows)
        best[key] = min(best.get(key, p), p, key=lambda point: point.microseconds)
    if best:
        print("\nbest tile tried (rows outputs columns split warps stages)")
        print_points(sorted(best.values(), key=lambda p: (p.scheme, p.rows, p.layer)))
    if options.json:
        record = {"facts": facts, "points": [asdict(p) for p in points], "tried": [asdict(p) for p in tried]}
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
