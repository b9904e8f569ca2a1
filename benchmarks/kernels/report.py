"""A run as Markdown: one function a table, each from the record alone."""

from collections.abc import Iterable, Sequence

from benchmarks.kernels.layers import CLASS_NAMES, CLASSES, LLAMA, MAIN, SCHEMES, Scheme
from benchmarks.kernels.points import CUBLAS, OURS, Record
from benchmarks.kernels.ratios import (
    all_layers,
    best_peer,
    cell,
    layer_sum,
    limit_of,
    rows_of,
    speedup,
    time_ratio,
)
from benchmarks.kernels.targets import verdicts

NOTHING = "–"


def markdown(record: Record) -> str:
    """The whole report."""
    parts = [
        _facts(record),
        roof_table(record),
        *(ratio_table(record, scheme, dtype) for scheme in SCHEMES.values() for dtype in ("fp16", "bf16")),
        *(time_table(record, scheme, "fp16") for scheme in SCHEMES.values()),
        *(best_peer_table(record, scheme) for scheme in SCHEMES.values()),
        layer_table(record),
        scheme_table(record),
        bytes_table(record),
        expert_table(record),
        accuracy_table(record),
        determinism_table(record),
        figure_table(record),
        verdict_table(record),
        _notes(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def section(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table under its title; nothing where there are no rows."""
    return f"**{title}**\n\n{table(header, rows)}" if rows else ""


def number(value: float | None, digits: int = 2) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _facts(record: Record) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in record.facts.items())
    return f"# Kernels, measured\n\n{facts}."


def roof_table(record: Record) -> str:
    """The read curve, plain and with dependent launches, and the best matmul."""
    dependent = dict(record.roof.read_dependent)
    rows = []
    for size, taken in record.roof.read:
        other = dependent.get(size)
        rows.append(
            (f"{size / 1e6:.1f}", number(taken), f"{size / taken / 1e6:.2f}", number(other),
             f"{size / other / 1e6:.2f}" if other else NOTHING)
        )  # fmt: skip
    title = f"Roof: reads by size, and {record.roof.tensor / 1e12:.0f} TFLOP/s in the best 16-bit matmul"
    return section(title, ("MB", "µs", "TB/s", "dependent launch, µs", "TB/s"), rows)


def ratio_table(record: Record, scheme: Scheme, dtype: str) -> str:
    """Times of 16-bit cuBLAS over ours, by class and rows; the best peer and the limit in brackets."""
    measured = sorted({rows for _, rows in record.times(OURS, scheme.label, dtype)})
    rows = []
    for name, layers in CLASSES.items():
        cells = [cell(record, layers, m, scheme, dtype) for m in measured]
        if any(c.ours is not None for c in cells):
            shown = [f"{number(c.ours)} ({number(c.peer)}; {number(c.limit)})" for c in cells]
            rows.append((CLASS_NAMES[name], *shown))
    title = f"{scheme.label}, {dtype}: times of 16-bit cuBLAS over ours (best peer; limit)"
    return section(title, ("layers", *(f"M={m}" for m in measured)), rows)


def bytes_table(record: Record) -> str:
    """What a prepared matrix holds through what its codes and scales take, largest of the layers."""
    packed = {layer.label: layer for layer in all_layers()}
    largest: dict[str, float] = {}
    for point in record.points:
        if point.who == OURS and point.layer in packed:
            layer = packed[point.layer]
            ratio = point.bytes / SCHEMES[point.scheme].packed_bytes(layer.n, layer.k)
            largest[point.scheme] = max(largest.get(point.scheme, 0.0), ratio)
    rows = [(scheme, f"{ratio:.3f}") for scheme, ratio in largest.items()]
    return section("Bytes held through bytes packed", ("scheme", "largest"), rows)


def time_table(record: Record, scheme: Scheme, dtype: str) -> str:
    """Microseconds of every layer: ours / cuBLAS / the limit."""
    own = record.times(OURS, scheme.label, dtype)
    cublas = record.times(CUBLAS, "", dtype)
    measured = sorted({rows for _, rows in own})
    rows = []
    for layer in all_layers():
        cells = []
        for m in measured:
            mine, base = own.get((layer.label, m)), cublas.get((layer.label, m))
            limit = limit_of(record, layer, m, scheme)
            times = [point.microseconds if point else None for point in (mine, base)]
            cells.append(" / ".join((*(number(t, 1) for t in times), number(limit, 1))))
        if any((layer.label, m) in own for m in measured):
            rows.append((layer.label, *cells))
    title = f"{scheme.label}, {dtype}: µs of ours / cuBLAS / the limit"
    return section(title, ("layer", *(f"M={m}" for m in measured)), rows)


def best_peer_table(record: Record, scheme: Scheme) -> str:
    """The fastest peer of each layer and number of rows, with its speedup."""
    measured = rows_of(record, scheme.label)
    rows = []
    for layer in all_layers():
        best = [best_peer(record, layer, m, scheme) for m in measured]
        if any(best):
            shown = [f"{b[0]} {b[1]:.1f} ({b[2]:.2f}x)" if b else NOTHING for b in best]
            rows.append((layer.label, *shown))
    title = f"{scheme.label}: best peer, µs (x over cuBLAS in its own dtype)"
    return section(title, ("layer", *(f"M={m}" for m in measured)), rows)


def layer_table(record: Record) -> str:
    """One Llama-8B layer's four linears together, of everybody who has all four."""
    measured = rows_of(record)
    kernels_met = dict.fromkeys((p.who, p.scheme, p.dtype) for p in record.points)
    rows = []
    for who, scheme, dtype in kernels_met:
        sums = [layer_sum(record, LLAMA, m, (who, scheme, dtype)) for m in measured]
        if any(s is not None for s in sums):
            rows.append((f"{who} {scheme} {dtype}".replace("  ", " "), *(number(s, 1) for s in sums)))
    for dtype in ("fp16", "bf16"):
        chain = [record.figures.get(f"chain {MAIN.label} {dtype} M={m}") for m in measured]
        if any(c is not None for c in chain):
            rows.append((f"{OURS} {MAIN.label} {dtype}, in a chain", *(number(c, 1) for c in chain)))
    if rows:
        limits = [sum(limit_of(record, layer, m, MAIN) for layer in LLAMA) for m in measured]
        rows.append((f"limit {MAIN.label}", *(number(limit, 1) for limit in limits)))
        sizes = [MAIN.packed_bytes(layer.n, layer.k) for layer in LLAMA]
        reads = sum(record.roof.read_microseconds(size, dependent=True) for size in sizes)
        rows.append((f"reading {MAIN.label} with dependent launch", *(number(reads, 1) for _ in measured)))
    return section("One Llama-8B layer: its four linears, µs", ("", *(f"M={m}" for m in measured)), rows)


def scheme_table(record: Record) -> str:
    """Our time in every other scheme and dtype through our time in 4 bits, groups of 128, float16."""
    measured = rows_of(record)
    rows = []
    for scheme in SCHEMES.values():
        for dtype in ("fp16", "bf16"):
            if (scheme, dtype) == (MAIN, "fp16"):
                continue
            ratios = [time_ratio(record, all_layers(), m, (scheme, dtype), (MAIN, "fp16")) for m in measured]
            if any(r is not None for r in ratios):
                size = scheme.packed_bytes(4096, 4096) / MAIN.packed_bytes(4096, 4096)
                rows.append((f"{scheme.label} {dtype}", number(size), *(number(r) for r in ratios)))
    title = f"Our time through our time in {MAIN.label} fp16 (layers measured in both)"
    return section(title, ("", "bytes", *(f"M={m}" for m in measured)), rows)


def expert_table(record: Record) -> str:
    """Experts: microseconds of everybody, by model, product and batch."""
    batches = sorted({p.batch for p in record.experts})
    times = {(p.model, p.what, p.who, p.scheme, p.batch): p for p in record.experts}
    rows = []
    for model, what, who, scheme in dict.fromkeys((p.model, p.what, p.who, p.scheme) for p in record.experts):
        points = [times.get((model, what, who, scheme, batch)) for batch in batches]
        label = " ".join(filter(None, (who, scheme)))
        rows.append((f"{model} {what}", label, *(number(p.microseconds if p else None, 1) for p in points)))
    for model, what in dict.fromkeys((p.model, p.what) for p in record.experts):
        met = {p.batch: p.touched for p in record.experts if (p.model, p.what, p.who) == (model, what, OURS)}
        limits = [record.roof.read_microseconds(met[b]) if b in met else None for b in batches]
        rows.append((f"{model} {what}", "reading the experts met", *(number(t, 1) for t in limits)))
    return section("Experts, bf16, µs", ("product", "", *(f"batch {b}" for b in batches)), sorted(rows))


def accuracy_table(record: Record) -> str:
    """Largest relative error of every scheme at every number of rows."""
    measured = sorted({entry.rows for entry in record.accuracy})
    errors = {(e.scheme, e.dtype, e.rows): e.error for e in record.accuracy}
    rows = [
        (f"{scheme} {dtype}", *(f"{errors[scheme, dtype, m]:.1e}" for m in measured))
        for scheme, dtype in dict.fromkeys((e.scheme, e.dtype) for e in record.accuracy)
        if all((scheme, dtype, m) in errors for m in measured)
    ]
    title = "Relative error against the float64 product of the dequantized weights, ragged shapes among them"
    return section(title, ("", *(f"M={m}" for m in measured)), rows)


def determinism_table(record: Record) -> str:
    rows = [(name, "yes" if same else "NO") for name, same in record.determinism.items()]
    return section("The same bits in 20 runs", ("", "equal"), rows)


def figure_table(record: Record) -> str:
    rows = [(name, f"{value:.1f}") for name, value in record.figures.items() if not name.startswith("chain ")]
    return section("Host, first call, load", ("", ""), rows)


def verdict_table(record: Record) -> str:
    """What was asked of an H100 and not reached; how many targets were."""
    found = verdicts(record)
    missed = [(v.what, v.asked, f"{v.got:.3g}") for v in found if not v.met]
    summary = (
        f"**Targets (set for an H100): {len(found) - len(missed)} of {len(found)} measured ones reached**"
    )
    return f"{summary}\n\n{table(('missed', 'asked', 'measured'), missed)}" if missed else summary


def _notes(record: Record) -> str:
    return (
        "\n".join(["**Left out or failed**\n", *(f"- {note}" for note in record.notes)])
        if record.notes
        else ""
    )


def peers_of(record: Record) -> list[str]:
    """Who was measured beside us."""
    return list(
        dict.fromkeys(p.who for p in record.points if p.who not in (OURS, CUBLAS) and speedup(record, p))
    )
