"""How fast a model is quantized: from the page cache to a finished, synced checkpoint, and computing alone.

    python -m benchmarks.quantize [--gigabytes 2] [--modes fast best] [--bits 4] [--device auto] [--place DIR]
                                  [--peers ...] [--seconds 3] [--json]

A checkpoint of random weights of that size is written into DIR (a temporary folder by default; it needs 1.4
times the size) and read once, so that it lies in the page cache where it fits. Each mode then runs in a
process of its own, whose peak memory is told; its time counts from where torch is imported. Before, on a GPU,
it quantizes one layer in another process, so that its kernels are compiled. Peers quantize
one weight that lies in memory already: they neither read nor write, and are compared with our computing alone
and with our whole job. GB/s are 10^9 bytes of 16-bit input a second.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from benchmarks._checkpoint import write_checkpoint
from benchmarks._quantize_peers import PEERS, prepare
from benchmarks._synthetic import STD
from benchmarks._table import hardware, table
from fqconsole.host_peak import host_peak
from fqconsole.models.describe import describe_folder
from quantizer.blocks import quantize_rows
from quantizer.device import resolve_devices, unit_weights, workers_of, working_on
from quantizer.engine import analyse, quantize
from quantizer.methods import DEFAULT_MODE, methods_of
from quantizer.plan import MatrixPlan, Plan
from quantizer.scheme import Scheme
from quantizer.source_hashes import SourceHashes
from quantizer.watch import SilentWatch

GIB = 1 << 30
HOST_BOUND = 1.5 * GIB  # and three times the largest matrix
WHOLE_TARGET, ALONE_TARGET = 3.0, 100.0  # GB/s on a GPU, at 4 bits
PEER_TARGET = 3.0  # times the fastest peer, on a CPU
DEFAULT_BOUND = 3.0  # times the time of `fast` that the default mode may take
PHASES = ("balance", "analyse", "quantize")
WINDOWS = 4  # the best of so many counts: a machine is seldom all ours
ALONE_SHAPE = (14336, 4096)


class PhaseClock(SilentWatch):
    """Seconds of each phase of a job, by its name."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: list[tuple[str, float]] = []

    def phase(self, name: str, total: float, unit: str, *, done: float = 0.0) -> None:
        self._begun.append((name, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """To be asked at the end of the job."""
        ends = [begun for _, begun in self._begun[1:]] + [time.perf_counter()]
        return {name: end - begun for (name, begun), end in zip(self._begun, ends, strict=True)}


def run_job(source: Path, out: Path, mode: str, bits: int, device: str) -> dict[str, Any]:
    """The whole job in this process, as a user's; its seconds and its peaks.

    A GPU's context is there before: a worker makes it while it imports torch (`fqconsole.jobs.early_gpu`).
    """
    places = resolve_devices(device)
    for place in places:
        torch.zeros(1, device=place)
    description = describe_folder(source, id="synthetic", source="folder")
    largest = max(tensor.bytes for tensor in description.tensors if ".layers." in tensor.name)
    begun, clock = time.perf_counter(), PhaseClock()
    with SourceHashes(source) as hashes:
        hashes.begin((tensor.file for tensor in description.tensors), places)
        plan = analyse(description, bits=bits, methods=methods_of(mode), device=device, watch=clock)
        summary = quantize(description, plan, out, device=device, watch=clock, hashes=hashes)
    ended = time.perf_counter()
    gpus = [torch.cuda.max_memory_allocated(place) for place in places if place.type == "cuda"]
    return {
        "mode": mode,
        "source_bytes": description.bytes,
        "bytes": summary.bytes,
        "seconds": ended - begun,
        "phases": clock.seconds(),
        "gb_s": description.bytes / (ended - begun) / 1e9,
        "host_peak": host_peak(),
        "host_bound": int(HOST_BOUND + 3 * largest),
        "gpu_peak": max(gpus) if gpus else None,
        "gpu_bound": 4 * largest,
    }


def compute_alone(mode: str, bits: int, device: str, seconds: float) -> float:
    """GB/s of rounding and packing what lies on the devices already, with the job's own workers."""
    places = resolve_devices(device)
    n, k = ALONE_SHAPE
    scheme = Scheme(bits, None if bits == 8 else 64)
    matrix = MatrixPlan("m", ("m.weight",), (n, k), 0, "m", "m", scheme)
    plan = Plan("m", None, bits, "fixed", scheme.group_size, 0.7, "bfloat16", (matrix,), ())
    plan = msgspec.structs.replace(plan, methods=methods_of(mode))
    rows = max(1, unit_weights(places[0], n * k) // k)
    torch.set_num_threads(1)
    units = [(torch.randn(rows, k, device=place) * STD).bfloat16() for place in workers_of(places)]
    counts = [0] * len(units)
    end = [0.0]

    def work(index: int) -> None:
        unit = units[index]
        with working_on(unit.device):
            while time.perf_counter() < end[0]:
                quantize_rows(unit, matrix, plan, "m")
                counts[index] += 1

    best = 0.0
    for _ in range(WINDOWS + 1):  # the first one warms up
        counts[:] = [0] * len(units)
        begun = time.perf_counter()
        end[0] = begun + seconds / WINDOWS
        threads = [threading.Thread(target=work, args=(index,)) for index in range(len(units))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = max(best, sum(counts) * rows * k * 2 / (time.perf_counter() - begun) / 1e9)
    return best


def peer_speed(run: Callable[[], Any], weight: torch.Tensor, seconds: float) -> float:
    """GB/s of one peer with all threads."""
    best = 0.0
    for _ in range(WINDOWS):
        begun, done = time.perf_counter(), 0
        while done < 1 or time.perf_counter() - begun < seconds / WINDOWS:
            run()
            done += 1
            if weight.is_cuda:
                torch.cuda.synchronize(weight.device)
        best = max(best, done * weight.nbytes / (time.perf_counter() - begun) / 1e9)
    return best


def measure_peers(names: Sequence[str], device: str, seconds: float) -> tuple[dict[str, float], list[str]]:
    """GB/s by name, and a sentence for each that was left out."""
    place = resolve_devices(device)[0]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    weight = (torch.randn(4096, 4096, device=place) * STD).bfloat16()
    speeds, left_out = {}, []
    for name in names:
        run, why = prepare(name, weight)
        if run is None:
            left_out.append(why)
        else:
            speeds[name] = peer_speed(run, weight, seconds)
    return speeds, left_out


def in_child(arguments: Sequence[str]) -> dict[str, Any]:
    """The whole job in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, "-m", "benchmarks.quantize", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def disk_speed(folder: Path) -> float:
    """GB/s of writing and syncing one file there: the whole job can't write faster."""
    data = os.urandom(64 << 20)
    path = folder / "disk-speed"
    begun = time.perf_counter()
    with path.open("wb") as opened:
        for _ in range(8):
            opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    took = time.perf_counter() - begun
    path.unlink()
    return 8 * len(data) / took / 1e9


def into_page_cache(folder: Path) -> None:
    """Read every file once."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as opened:
            while opened.read(16 << 20):
                pass


def show(jobs: list[dict[str, Any]], peers: dict[str, float], left_out: list[str]) -> str:
    """The tables for people, and what was aimed at."""
    header = (
        "mode",
        "whole job",
        "in all",
        *PHASES,
        "computing alone",
        "host peak",
        "GPU peak",
    )
    rows = [
        (
            job["mode"],
            f"{job['gb_s']:.2f} GB/s",
            f"{job['seconds']:.1f} s",
            *(f"{job['phases'].get(phase, 0.0):.1f} s" for phase in PHASES),
            f"{job['alone_gb_s']:.2f} GB/s",
            f"{job['host_peak'] / GIB:.2f} of {job['host_bound'] / GIB:.2f} GiB",
            "-" if job["gpu_peak"] is None
            else f"{job['gpu_peak'] / GIB:.2f} of {job['gpu_bound'] / GIB:.2f} GiB",
        )
        for job in jobs
    ]  # fmt: skip
    lines = [f"{jobs[0]['source_bytes'] / 1e9:.1f} GB of 16-bit weights", table(header, rows), ""]
    first = jobs[0]
    by_mode = {job["mode"]: job for job in jobs}
    if "fast" in by_mode and DEFAULT_MODE in by_mode:
        whole, alone = (
            by_mode["fast"][word] / by_mode[DEFAULT_MODE][word] for word in ("gb_s", "alone_gb_s")
        )
        lines.append(
            f"{DEFAULT_MODE}, the default, against fast: the whole job takes {whole:.1f} times the time, "
            f"computing alone {alone:.1f} times (aim: {DEFAULT_BOUND:.0f} at most)"
        )
    if peers:
        fastest = max(peers.values())
        ordered = sorted(peers, key=lambda name: -peers[name])
        lines.append(table(("peer, in memory", "GB/s"), [(name, f"{peers[name]:.3f}") for name in ordered]))
        alone, whole = first["alone_gb_s"] / fastest, first["gb_s"] / fastest
        lines.append(
            f"{first['mode']} against the fastest of them: computing alone {alone:.1f} times, the whole job "
            f"{whole:.1f} times (aim: {PEER_TARGET:.0f})"
        )
    if first["gpu_peak"] is not None:
        lines.append(
            f"aims on a GPU: whole job {WHOLE_TARGET:.0f} GB/s, computing alone {ALONE_TARGET:.0f} GB/s"
        )
    return "\n".join(lines + left_out)


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a model is quantized.")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="16-bit weights to make, 10^9 bytes")
    parser.add_argument("--modes", nargs="+", default=["fast", "best"])
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--place", type=Path, help="an existing folder for the model and the checkpoints")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), help="peers to measure; none for no peers")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to time each peer")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    parser.add_argument("--job", nargs=2, metavar=("SOURCE", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        source, out = map(Path, options.job)
        print(json.dumps(run_job(source, out, options.modes[0], options.bits, options.device)))
        return
    place = hardware(resolve_devices(options.device)[0])
    with tempfile.TemporaryDirectory(dir=options.place) as folder:
        source = write_checkpoint(Path(folder) / "source", options.gigabytes)
        disk = disk_speed(Path(folder))
        into_page_cache(source)
        layer = None
        if resolve_devices(options.device)[0].type == "cuda":
            layer = write_checkpoint(Path(folder) / "layer", options.gigabytes, layers=1)
        jobs = []
        for mode in options.modes:
            made = Path(folder) / f"out-{mode}"
            asked = ["--modes", mode, "--bits", str(options.bits), "--device", options.device]
            if layer is not None:
                in_child([*asked, "--job", str(layer), f"{made}-layer"])
            job = in_child([*asked, "--job", str(source), str(made)])
            job["alone_gb_s"] = compute_alone(mode, options.bits, options.device, options.seconds)
            jobs.append(job)
    peers, left_out = measure_peers(options.peers, options.device, options.seconds)
    if options.json:
        print(
            json.dumps(
                {"hardware": place, "disk_gb_s": disk, "jobs": jobs, "peers": peers, "left_out": left_out}
            )
        )
        return
    print(place)
    print(f"disk: {disk:.2f} GB/s written and synced")
    print(show(jobs, peers, left_out))


if __name__ == "__main__":
    main()
