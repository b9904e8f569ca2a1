"""Time of the CPU paths: what `kernels.prepare` chooses, against dequantizing each time and plain weights.

    python -m benchmarks.cpu_matmul [--threads 2] [--json FILE]

Microseconds, the middle of many calls with one matrix: a small one stays in cache, as in a small model.
`plain` is the same product with weights that were dequantized beforehand. With one thread it is the
processor's time, which other work on the machine leaves alone.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch

import kernels
from kernels.packing import pack_codes
from kernels.prepared import DequantizedMatrix

SHAPES = ((256, 768), (768, 256), (4096, 4096))
SCHEMES = ((4, 64), (4, None), (4, 16), (3, 64), (8, None), (8, 64))
ROWS = (1, 4, 32, 128, 512, 2048)
DTYPES = (torch.bfloat16, torch.float32)
SECONDS = 0.1  # for each figure


@dataclass(frozen=True)
class Line:
    shape: str
    scheme: str
    dtype: str
    rows: int
    path: str
    chosen: float
    dequantize: float
    plain: float


def microseconds_of(call: Callable[[], object]) -> float:
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    call()
    times = []
    end = time.perf_counter() + SECONDS
    while len(times) < 3 or time.perf_counter() < end:
        start = clock()
        call()
        times.append(clock() - start)
    return median(times) * 1e6


def random_matrix(n: int, k: int, bits: int, group_size: int | None) -> kernels.PackedMatrix:
    half = 1 << (bits - 1)
    codes = torch.randint(-half, half, (n, k), dtype=torch.int8)
    scales = torch.rand(n, 1 if group_size is None else k // group_size) * 0.01 + 0.002
    return kernels.PackedMatrix(pack_codes(codes, bits), scales.to(torch.bfloat16), bits, group_size, k)


def measure() -> list[Line]:
    lines = []
    for n, k in SHAPES:
        for bits, group_size in SCHEMES:
            w = random_matrix(n, k, bits, group_size)
            for dtype in DTYPES:
                prepared = kernels.prepare(w, "cpu", dtype)
                dequantized = DequantizedMatrix(w)
                weights = w.dequantize(dtype)
                for m in ROWS:
                    x = torch.randn(m, k).to(dtype)
                    line = Line(
                        shape=f"{n}x{k}",
                        scheme=f"int{bits} {group_size or 'channel'}",
                        dtype=str(dtype).removeprefix("torch."),
                        rows=m,
                        path=prepared.path,
                        chosen=microseconds_of(lambda x=x, p=prepared: kernels.linear(x, p)),
                        dequantize=microseconds_of(lambda x=x, d=dequantized: kernels.linear(x, d)),
                        plain=microseconds_of(lambda x=x, p=weights: torch.nn.functional.linear(x, p)),
                    )
                    print(
                        f"{line.shape:<10} {line.scheme:<12} {line.dtype:<9} M={m:<4} {line.path:<15}"
                        f"{line.chosen:>9.0f}{line.dequantize:>12.0f}{line.plain:>10.0f}",
                        flush=True,
                    )
                    lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {options.threads} threads")
    print(
        f"{'shape':<10} {'scheme':<12} {'dtype':<9} {'rows':<6} {'path':<15}"
        f"{'us':>9}{'dequantize':>12}{'plain':>10}"
    )
    lines = measure()
    if options.json:
        options.json.write_text(json.dumps([asdict(line) for line in lines], indent=1))


if __name__ == "__main__":
    main()
