"""A made-up run whose every ratio is known."""

from benchmarks.kernels.layers import CLASSES, LLAMA, MAIN, Scheme
from benchmarks.kernels.points import CUBLAS, OURS, Accuracy, ExpertPoint, Point, Record, Roof

CUBLAS_US, OUR_US, PEER_US, SLOW_PEER_US = 60.0, 20.0, 30.0, 40.0


def roof() -> Roof:
    """Reads at 1 TB/s after 1 µs, 0.5 µs with dependent launch; 100 TFLOP/s."""
    sizes = (1_000_000, 10_000_000, 100_000_000)
    return Roof(
        read=tuple((size, 1 + size / 1e6) for size in sizes),
        read_dependent=tuple((size, 0.5 + size / 1e6) for size in sizes),
        tensor=100e12,
    )


def record(rows: tuple[int, ...] = (1, 16)) -> Record:
    """Llama-8B in 4 bits: cuBLAS 60 µs, ours 20, peers 30 and 40; int3 at 15, groups of 64 at 21."""
    made = Record({"gpu": "made up"}, roof())
    others = {Scheme(3, 128): 15.0, Scheme(4, 64): 21.0}
    for layer in LLAMA:
        size = MAIN.packed_bytes(layer.n, layer.k)
        for m in rows:
            points = [
                Point(CUBLAS, layer.label, "", "fp16", m, CUBLAS_US, 2 * layer.n * layer.k),
                Point(CUBLAS, layer.label, "", "bf16", m, 2 * CUBLAS_US, 2 * layer.n * layer.k),
                Point(OURS, layer.label, MAIN.label, "fp16", m, OUR_US, size),
                Point("quick", layer.label, MAIN.label, "fp16", m, PEER_US, size),
                Point("slow", layer.label, MAIN.label, "fp16", m, SLOW_PEER_US, size),
            ]
            points += [
                Point(OURS, layer.label, scheme.label, "fp16", m, taken, size)
                for scheme, taken in others.items()
            ]
            made.points += points
    made.experts = [
        ExpertPoint(OURS, "Mix", "gate_up", MAIN.label, 1, 10.0, 5_000_000),
        ExpertPoint("grouped_mm", "Mix", "gate_up", "", 1, 30.0, 5_000_000),
    ]
    made.accuracy = [Accuracy(MAIN.label, "fp16", 1, 3e-4, 4), Accuracy(MAIN.label, "fp16", 16, 6e-4, 4)]
    made.determinism = {f"{OURS} {MAIN.label} fp16 M=1": True, "quick int4-128 fp16 M=1": False}
    made.figures = {"eager kernels.linear us": 25.0, f"chain {MAIN.label} fp16 M=1": 48.0}
    made.notes = ["slow has no such thing"]
    return made


ATTENTION = CLASSES["llama-attention"]
