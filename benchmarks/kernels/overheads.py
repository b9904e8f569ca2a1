"""What the host costs: one eager call, the first call in a new process, and making a matrix ready at load."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import torch

import kernels
from benchmarks.kernels.layers import LLAMA, MAIN, Scheme
from benchmarks.kernels.weights import random_rows, random_weights
from benchmarks.kernels.work import Work

BATCHES, CALLS = 30, 40
FIRST_CALL_ROWS = (1, 256)
LONGEST_PROCESS = 120.0  # seconds
# What compiled kernels and choices are kept in between processes.
CACHE_VARIABLES = ("TRITON_CACHE_DIR", "FQCONSOLE_HOME", "XDG_CACHE_HOME")


def host_microseconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Host time of one of each, which only launch: the device is never waited for in between.

    They take turns, so that none has the host's slow first moments for itself.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(BATCHES):
        for name, call in calls.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            times[name].append((time.perf_counter() - start) / CALLS)
    torch.cuda.synchronize()
    return {name: median(spans) * 1e6 for name, spans in times.items()}


def measure_eager(work: Work) -> None:
    """`kernels.linear` without a graph, beside torch's own linear."""
    n, k = 4096, 4096
    dtype = torch.bfloat16
    matrix = kernels.prepare(random_weights(n, k, Scheme(4, 64), dtype, "cuda").packed(), "cuda", dtype)
    dense = torch.randn(n, k, device="cuda").to(dtype)
    x = random_rows(1, k, dtype, "cuda")
    bias = torch.zeros(n, dtype=dtype, device="cuda")
    calls = {
        "kernels.linear": lambda: kernels.linear(x, matrix),
        "kernels.linear with bias": lambda: kernels.linear(x, matrix, bias),
        "torch linear": lambda: torch.nn.functional.linear(x, dense),
    }
    for name, taken in host_microseconds(calls).items():
        work.record.figures[f"eager {name} us"] = taken


def measure_prepare(work: Work, schemes: Sequence[Scheme]) -> None:
    """Packed bytes a second that `kernels.prepare` makes ready on the device; the second of two matrices."""
    layer = max(LLAMA, key=lambda layer: layer.n * layer.k)
    for scheme in schemes:
        packed = random_weights(layer.n, layer.k, scheme, torch.bfloat16, "cuda").packed()
        kernels.prepare(packed, "cuda")
        torch.cuda.synchronize()
        start = time.perf_counter()
        kernels.prepare(packed, "cuda")
        torch.cuda.synchronize()
        seconds = max(time.perf_counter() - start, 1e-6)
        work.record.figures[f"prepare {scheme.label} GB/s"] = packed.bytes / seconds / 1e9


def first_call(rows: int) -> dict[str, float]:
    """In a new process: milliseconds of `prepare` and of the first product. Printed by `main`."""
    import triton  # noqa: F401 — its import belongs to the start of a program, not to a call

    n, k = LLAMA[1].n, LLAMA[1].k
    x = random_rows(rows, k, torch.bfloat16, "cuda")
    torch.mm(x, x.mT)  # starts CUDA and cuBLAS
    packed = random_weights(n, k, MAIN, torch.bfloat16, "cuda").packed()
    torch.cuda.synchronize()
    start = time.perf_counter()
    matrix = kernels.prepare(packed, "cuda")
    torch.cuda.synchronize()
    ready = time.perf_counter()
    kernels.linear(x, matrix)
    torch.cuda.synchronize()
    end = time.perf_counter()
    return {"prepare": (ready - start) * 1000, "first call": (end - ready) * 1000}


def measure_first_call(work: Work) -> None:
    """Cold (nothing compiled yet), then again with what the cold one left behind."""
    for rows in FIRST_CALL_ROWS:
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {name: str(Path(folder) / name) for name in CACHE_VARIABLES}
            for kind in ("cold", "warm"):
                command = [sys.executable, "-m", "benchmarks.kernels", "--first-call", str(rows)]
                try:
                    done = subprocess.run(
                        command, capture_output=True, text=True, check=False, env=environment,
                        timeout=LONGEST_PROCESS,
                    )  # fmt: skip
                except subprocess.TimeoutExpired as problem:
                    work.failed(f"first call, {kind}, M={rows}", problem)
                    continue
                if done.returncode:
                    last = (done.stderr.strip() or "no word").splitlines()[-1]
                    work.note(f"first call, {kind}, M={rows} failed: {last}")
                    continue
                spans = json.loads(done.stdout.splitlines()[-1])
                for name, milliseconds in spans.items():
                    work.record.figures[f"{kind} {name} M={rows} ms"] = milliseconds
