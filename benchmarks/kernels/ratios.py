"""From points to ratios: over 16-bit cuBLAS, of the best peer, of the roof; geometric means over a class."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.kernels.layers import CLASSES, Layer, Scheme
from benchmarks.kernels.points import CUBLAS, OURS, Point, Record, geometric_mean


@dataclass(frozen=True)
class Cell:
    """One class at one number of rows, as times of cuBLAS over times of the others; None where unmeasured."""

    ours: float | None
    peer: float | None
    peer_names: tuple[str, ...]  # the best ones of the layers
    limit: float | None


def speedup(record: Record, point: Point) -> float | None:
    """cuBLAS, in the point's own dtype, over the point."""
    cublas = record.times(CUBLAS, "", point.dtype).get((point.layer, point.rows))
    return cublas.microseconds / point.microseconds if cublas else None


def best_peer(record: Record, layer: Layer, rows: int, scheme: Scheme) -> tuple[str, float, float] | None:
    """(name, microseconds, speedup) of the best peer, each over cuBLAS in its own dtype."""
    found = []
    for point in record.points:
        if (point.layer, point.rows, point.scheme) != (layer.label, rows, scheme.label) or point.who == OURS:
            continue
        ratio = speedup(record, point)
        if ratio is not None:
            found.append((point.who, point.microseconds, ratio))
    return max(found, key=lambda entry: entry[2], default=None)


def limit_of(record: Record, layer: Layer, rows: int, scheme: Scheme) -> float:
    """Microseconds of the roof for this layer in this scheme."""
    return record.roof.limit(scheme.packed_bytes(layer.n, layer.k), layer.operations(rows))


def cell(record: Record, layers: Sequence[Layer], rows: int, scheme: Scheme, dtype: str) -> Cell:
    """Means over `layers`; a part that one of them lacks is None."""
    cublas = record.times(CUBLAS, "", dtype)
    own = record.times(OURS, scheme.label, dtype)
    ours, limits, peers = [], [], []
    for layer in layers:
        base = cublas.get((layer.label, rows))
        mine = own.get((layer.label, rows))
        if base is not None:
            limits.append(base.microseconds / limit_of(record, layer, rows, scheme))
            if mine is not None:
                ours.append(base.microseconds / mine.microseconds)
        best = best_peer(record, layer, rows, scheme)
        if best is not None:
            peers.append(best)
    whole = len(layers)
    return Cell(
        ours=geometric_mean(ours) if len(ours) == whole else None,
        peer=geometric_mean([ratio for _, _, ratio in peers]) if len(peers) == whole else None,
        peer_names=tuple(dict.fromkeys(name for name, _, _ in peers)) if len(peers) == whole else (),
        limit=geometric_mean(limits) if len(limits) == whole else None,
    )


def rows_of(record: Record, scheme: str | None = None) -> list[int]:
    """Numbers of rows that were measured."""
    return sorted({p.rows for p in record.points if scheme is None or p.scheme == scheme})


def time_ratio(
    record: Record, layers: Sequence[Layer], rows: int, over: tuple[Scheme, str], under: tuple[Scheme, str]
) -> float | None:
    """Our time in scheme and dtype `over` through that in `under`, mean over layers that have both."""
    above = record.times(OURS, over[0].label, over[1])
    below = record.times(OURS, under[0].label, under[1])
    keys = [(layer.label, rows) for layer in layers]
    pairs = [(above[key], below[key]) for key in keys if key in above and key in below]
    return geometric_mean([a.microseconds / b.microseconds for a, b in pairs]) if pairs else None


def layer_sum(
    record: Record, layers: Sequence[Layer], rows: int, kernel: tuple[str, str, str]
) -> float | None:
    """Microseconds of all `layers` together by one (who, scheme, dtype)."""
    times = record.times(*kernel)
    found = [times.get((layer.label, rows)) for layer in layers]
    return sum(point.microseconds for point in found if point) if all(found) else None


def all_layers() -> list[Layer]:
    return [layer for layers in CLASSES.values() for layer in layers]
