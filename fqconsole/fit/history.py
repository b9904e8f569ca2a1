"""What earlier runs teach the preview: its error on this device, and the runtime term.

Arithmetic stays arithmetic. The runtime term becomes the median of what was measured of it; and where the
totals still came out larger than predicted, the preview asks for that much more, as runtime too. It never
asks for less than what was measured.
"""

from collections.abc import Sequence
from statistics import median

import msgspec

from fqconsole.fit.capacity import Accuracy, Capacity
from fqconsole.fit.probe import version_of
from fqconsole.fit.runtime import EXCHANGE, runtime
from fqconsole.fit.sizes import size
from fqconsole.fit.term import Term
from store import MemoryPair

LEAST_RUNS = 3
MOST_RUNS = 40  # older ones tell of other days
SYSTEMATIC = 0.01  # of the total
NEARLY_ALL = 0.9


def learned(capacity: Capacity, history: Sequence[MemoryPair]) -> Capacity:
    """`capacity` with what the runs on this very device teach, newest first. Of a GPU that is not here they
    teach nothing, and of another version of torch neither.
    """
    runs = [pair for pair in history if _is_of(pair, capacity)][:MOST_RUNS]
    capacity = msgspec.structs.replace(capacity, exchange=_exchange(runs) or capacity.exchange)
    term = _runtime(capacity, runs)
    errors = [error_of(pair, term) for pair in runs if "total" in pair.terms]
    if len(errors) < LEAST_RUNS:
        return capacity
    ordered = sorted(map(abs, errors))
    most = ordered[min(len(ordered) - 1, int(NEARLY_ALL * len(ordered)))]
    return msgspec.structs.replace(
        capacity, accuracy=Accuracy(len(errors), median(errors), most), runtime=term or capacity.runtime
    )


def error_of(pair: MemoryPair, runtime_term: Term | None = None) -> float:
    """(measured - predicted) / predicted of the total, as a preview with this runtime term would have it."""
    predicted, measured = pair.terms["total"]
    if runtime_term is not None and "runtime" in pair.terms:
        predicted += runtime_term.bytes - pair.terms["runtime"][0]
    return (measured - predicted) / max(1, predicted)


def _runtime(capacity: Capacity, runs: Sequence[MemoryPair]) -> Term | None:
    whole = [pair.terms for pair in runs if {"total", "runtime"} <= set(pair.terms)]
    if len(whole) < LEAST_RUNS:
        return None
    held = int(median(terms["runtime"][1] for terms in whole))
    lacking = int(median(t["total"][1] - (t["total"][0] - t["runtime"][0] + held) for t in whole))
    usual = median(terms["total"][0] for terms in whole)
    detail = f"{size(held)} is the median of {len(whole)} runs here"
    if lacking > SYSTEMATIC * usual:
        detail += f", and their totals took {size(lacking)} more than predicted"
    else:
        lacking = 0
    return Term(runtime(capacity).name, held + lacking, "measured", detail)


def _exchange(runs: Sequence[MemoryPair]) -> Term | None:
    """What NCCL kept in sessions on several GPUs."""
    kept = [pair.terms["exchange"][1] for pair in runs if "exchange" in pair.terms]
    if len(kept) < LEAST_RUNS:
        return None
    return Term(EXCHANGE.name, int(median(kept)), "measured", f"the median of {len(kept)} runs here")


def _is_of(pair: MemoryPair, capacity: Capacity) -> bool:
    if pair.versions.get("torch") != version_of("torch"):
        return False
    if capacity.kind == "host":
        return pair.gpu is None
    return (
        capacity.kind == "gpu"
        and pair.gpu is not None
        and pair.device_name.removeprefix("NVIDIA ") == capacity.name
    )
