"""Other tiles than those that are used, of the ring and the decode kernel, on the linears of three models.

    python -m benchmarks.kernels.tiles --seconds 240 --json tiles.json
    python -m benchmarks.kernels.tiles --load tiles.json

Every product is checked before it is timed, as in `benchmarks.kernels`. The table names the fastest tile; the
JSON file holds all.
"""

import argparse
import dataclasses
import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks._table import hardware, table
from benchmarks.kernels.layers import CLASSES, SCHEMES
from benchmarks.kernels.tiles.sweep import CUBLAS, DTYPES, OURS, ROWS, Timed, compile_tile, measure
from benchmarks.kernels.timing import Budget
from benchmarks.kernels.warm import usual_workers


def report(found: Sequence[Timed]) -> str:
    """For every product cuBLAS, ours and the fastest tile; then what failed."""
    lines = []
    for layer, scheme, m in dict.fromkeys((timed.layer, timed.scheme, timed.rows) for timed in found):
        times = {
            timed.design: timed.microseconds
            for timed in found
            if (timed.layer, timed.scheme, timed.rows) == (layer, scheme, m) and timed.microseconds
        }
        cublas, ours = times.pop(CUBLAS), times.pop(OURS, float("nan"))
        best = min(times, key=times.__getitem__, default="")
        fastest = times.get(best, float("nan"))
        lines.append(
            (
                f"{layer} {scheme}", str(m), f"{cublas:.1f}", f"{ours:.1f}", f"{fastest:.1f}",
                f"{cublas / ours:.2f}", f"{cublas / fastest:.2f}", best,
            )
        )  # fmt: skip
    header = ("layer", "M", "cuBLAS µs", "ours", "design", "x ours", "x design", "tile")
    failed = dict.fromkeys(f"{timed.design}: {timed.problem}" for timed in found if timed.problem)
    return "\n".join([table(header, lines), *(("", "Failed:", *failed) if failed else ())])


def main() -> int:
    """0; 1 where a tile was wrong or could not be compiled."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--classes", nargs="+", choices=list(CLASSES), default=list(CLASSES))
    parser.add_argument("--schemes", nargs="+", choices=list(SCHEMES), default=["int4-128"])
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp16")
    parser.add_argument("--kernels", nargs="+", choices=["ring", "decode"], default=["ring"])
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--json", type=Path, help="write every time")
    parser.add_argument("--load", type=Path, help="no measuring: the table of this file")
    parser.add_argument("--workers", type=int, default=usual_workers(), help="processes that compile ahead")
    asked = parser.parse_args()
    if asked.load:
        print(report([Timed(**timed) for timed in json.loads(asked.load.read_text())]))
        return 0
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0):
        print("The design is for GPUs of compute capability 9.0 (H100, H200), and there is none here.")
        return 0
    budget = Budget(asked.seconds)
    shares = [(i, asked.workers, s, asked.dtype) for s in asked.schemes for i in range(asked.workers)]
    if "ring" in asked.kernels:
        with multiprocessing.get_context("spawn").Pool(asked.workers) as pool:
            pool.map(compile_tile, shares, chunksize=1)
    found: list[Timed] = []
    for scheme in asked.schemes:
        for layer in (layer for name in asked.classes for layer in CLASSES[name]):
            found += measure(
                layer, SCHEMES[scheme], DTYPES[asked.dtype], asked.rows, budget, kernels=asked.kernels
            )
            if asked.json:
                asked.json.write_text(json.dumps([dataclasses.asdict(timed) for timed in found]))
    print(hardware(torch.device("cuda")))
    print(report(found))
    print(*(f"no time was left for {what}" for what in budget.left_out), sep="\n")
    return int(any(timed.problem for timed in found))


if __name__ == "__main__":
    raise SystemExit(main())
