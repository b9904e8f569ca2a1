"""A plan in a few lines, for the row of its run."""

from collections import Counter
from typing import Any

from fqconsole.jobs.messages import PlanReady
from quantizer.methods import mode_word
from quantizer.scheme import group_word


def plan_summary(event: PlanReady) -> dict[str, Any]:
    """The plan without its list of matrices, which the matrices table gets one by one as they are done.

    The whole plan is in the checkpoint's manifest; of a large mixture of experts it is megabytes.
    """
    plan = event.plan
    kept: Counter[str] = Counter()
    for tensor in plan.kept:
        kept[tensor.reason] += tensor.bytes
    return {
        "version": plan.version,
        "bits": plan.bits,
        "granularity": plan.granularity,
        "group_size": plan.group_size,
        "threshold": plan.threshold,
        "mode": mode_word(plan.methods),
        "scale_dtype": plan.scale_dtype,
        "matrices": len(plan.matrices),
        "groups": dict(Counter(group_word(matrix.scheme.group_size) for matrix in plan.matrices)),
        "kept_bytes": dict(kept),
        "predicted_bytes": event.predicted_bytes,
        "bits_per_weight": event.bits_per_weight,
    }
