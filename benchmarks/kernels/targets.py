"""What these kernels are meant to reach on an H100, and whether a run reached it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.kernels.layers import CLASS_NAMES, CLASSES, LLAMA, MAIN, Layer, Scheme
from benchmarks.kernels.points import OURS, Record
from benchmarks.kernels.ratios import all_layers, cell, layer_sum, rows_of, time_ratio

# Times of 16-bit cuBLAS over ours, 4 bits in groups of 128: by class, by rows.
SPEEDUPS: dict[str, dict[int, float]] = {
    "llama-attention": {1: 2.4, 16: 2.1, 32: 2.0, 64: 1.3, 128: 1.0, 256: 0.95, 4096: 0.95},
    "llama-mlp": {1: 3.2, 16: 3.1, 32: 2.8, 64: 2.2, 128: 1.5, 256: 1.0, 4096: 0.95},
    "opt-30b": {1: 3.6, 16: 3.5, 32: 3.0, 64: 2.3, 128: 1.5, 256: 0.95, 4096: 0.95},
    "opt-175b": {1: 3.95, 16: 3.85, 32: 3.4, 64: 2.8, 128: 1.7, 256: 0.95, 4096: 0.95},
}
LAYER_SUM_US = 52.0  # one Llama-8B layer's four matmuls at one row
LAYER_SUM_DEPENDENT_US = 46.0  # in a chain, each launched before the one in front has ended
INT8_SPEEDUP, INT8_BYTES = 1.95, 100_000_000  # where the 16-bit weights take so much, to 16 rows
INT3_LARGE, INT3_SMALL, INT3_BYTES = 0.82, 0.90, 50_000_000  # of int4's time, by what int4 packs to
BFLOAT16 = 1.03  # of float16's time
BYTE_RATIO_SLACK = 1.05  # differences below five per cent mean nothing
DECODE_ROWS = (1, 2, 4, 8, 16)
EXPERTS_DECODE, EXPERTS_PREFILL = 2.5, 0.95  # times of 16-bit grouped products over ours
EXPERTS_PREFILL_BATCH = 1024
FIGURES_AT_MOST = {
    "eager kernels.linear us": 30.0,
    "cold first call M=1 ms": 2000.0,
    "warm first call M=1 ms": 50.0,
}
PREPARE_GB_S = 500.0


@dataclass(frozen=True)
class Verdict:
    """One target: what was asked, what was measured."""

    what: str
    asked: str
    got: float
    met: bool


def at_least(what: str, bound: float, got: float | None) -> Iterator[Verdict]:
    if got is not None:
        yield Verdict(what, f"≥ {bound:g}", got, got >= bound)


def at_most(what: str, bound: float, got: float | None) -> Iterator[Verdict]:
    if got is not None:
        yield Verdict(what, f"≤ {bound:g}", got, got <= bound)


def verdicts(record: Record) -> list[Verdict]:
    """Every target that this run measured."""
    return [
        *_speedups(record),
        *_layer(record),
        *_schemes(record),
        *_experts(record),
        *_single_figures(record),
        *_same_bits(record),
    ]


def _speedups(record: Record) -> Iterator[Verdict]:
    for name, targets in SPEEDUPS.items():
        for rows, bound in targets.items():
            got = cell(record, CLASSES[name], rows, MAIN, "fp16").ours
            yield from at_least(f"{CLASS_NAMES[name]}, {MAIN.label}, M={rows}: x over cuBLAS", bound, got)


def _layer(record: Record) -> Iterator[Verdict]:
    total = layer_sum(record, LLAMA, 1, (OURS, MAIN.label, "fp16"))
    yield from at_most("Llama-8B layer, M=1: sum, µs", LAYER_SUM_US, total)
    chain = record.figures.get(f"chain {MAIN.label} fp16 M=1")
    yield from at_most("Llama-8B layer, M=1: in a chain, µs", LAYER_SUM_DEPENDENT_US, chain)


def _schemes(record: Record) -> Iterator[Verdict]:
    for rows in rows_of(record):
        for finer in (Scheme(4, 64), Scheme(4, 32)):
            bound = finer.packed_bytes(4096, 4096) / MAIN.packed_bytes(4096, 4096) * BYTE_RATIO_SLACK
            got = time_ratio(record, all_layers(), rows, (finer, "fp16"), (MAIN, "fp16"))
            yield from at_most(f"{finer.label} over {MAIN.label}, M={rows}: time", round(bound, 3), got)
        got = time_ratio(record, all_layers(), rows, (MAIN, "bf16"), (MAIN, "fp16"))
        yield from at_most(f"bf16 over fp16, {MAIN.label}, M={rows}: time", BFLOAT16, got)
    for rows in DECODE_ROWS:
        large = [layer for layer in all_layers() if 2 * layer.n * layer.k >= INT8_BYTES]
        for layer in large:
            got = cell(record, [layer], rows, Scheme(8, None), "fp16").ours
            yield from at_least(f"{layer.label}, int8, M={rows}: x over cuBLAS", INT8_SPEEDUP, got)
        for bound, layers in ((INT3_LARGE, _int4_from(INT3_BYTES)), (INT3_SMALL, _small_llama())):
            for layer in layers:
                got = time_ratio(record, [layer], rows, (Scheme(3, 128), "fp16"), (MAIN, "fp16"))
                yield from at_most(f"{layer.label}, int3 over int4, M={rows}: time", bound, got)


def _int4_from(size: int) -> Iterable[Layer]:
    return [layer for layer in all_layers() if MAIN.packed_bytes(layer.n, layer.k) >= size]


def _small_llama() -> Iterable[Layer]:
    return [layer for layer in LLAMA if MAIN.packed_bytes(layer.n, layer.k) < INT3_BYTES]


def _experts(record: Record) -> Iterator[Verdict]:
    times = {(p.model, p.what, p.batch, p.who): p.microseconds for p in record.experts}
    for point in record.experts:
        base = times.get((point.model, point.what, point.batch, "grouped_mm"))
        if point.who != OURS or base is None:
            continue
        bound = EXPERTS_PREFILL if point.batch >= EXPERTS_PREFILL_BATCH else EXPERTS_DECODE
        what = f"experts {point.model} {point.what}, {point.scheme}, batch {point.batch}: x over grouped_mm"
        yield from at_least(what, bound, base / point.microseconds)


def _single_figures(record: Record) -> Iterator[Verdict]:
    for name, bound in FIGURES_AT_MOST.items():
        yield from at_most(name, bound, record.figures.get(name))
    for name, got in record.figures.items():
        if name.startswith("prepare "):
            yield from at_least(name, PREPARE_GB_S, got)
    for dtype, bound in (("fp16", 5e-4), ("bf16", 4e-3)):
        errors = [entry.error for entry in record.accuracy if entry.dtype == dtype]
        yield from at_most(f"largest relative error, {dtype}", bound, max(errors, default=None))


def _same_bits(record: Record) -> Iterator[Verdict]:
    for name, same in record.determinism.items():
        if name.startswith(f"{OURS} "):
            yield Verdict(f"same bits in 20 runs, {name}", "yes", float(same), same)
