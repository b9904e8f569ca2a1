"""The quantize job: describe the model, decide the plan, write the checkpoint."""

import time
from pathlib import Path

from fqconsole.jobs.desk import Desk
from fqconsole.jobs.memory_peak import tell_peak
from fqconsole.jobs.messages import CheckpointWritten, PlanReady, StartQuantize
from fqconsole.jobs.model_folder import look_at
from quantizer import base_plan, plan_bits_per_weight, predicted_bytes
from quantizer.checkpoint import unfinished_plan
from quantizer.engine import analyse, quantize
from quantizer.methods import methods_of
from quantizer.plan import without_channels

smallest_change = "Free memory on the GPU, or quantize with --device cpu; finished shards are kept."


def run(request: StartQuantize, desk: Desk) -> None:
    """Quantize `request.model_path` into `request.out`."""
    description = look_at(Path(request.model_path), request.model_id)
    methods = methods_of(request.mode)
    draft = base_plan(
        description,
        request.bits,
        request.granularity,
        request.group_size,
        request.threshold,
        methods=methods,
    )
    plan = unfinished_plan(Path(request.out), draft)
    if plan is None:
        plan = analyse(
            description,
            bits=request.bits,
            granularity=request.granularity,
            group_size=request.group_size,
            threshold=request.threshold,
            methods=methods,
            device=request.device,
            watch=desk.watch,
        )
    desk.put(
        PlanReady(
            t=time.time(),
            run_id=request.run_id,
            plan=without_channels(plan),
            predicted_bytes=predicted_bytes(plan),
            bits_per_weight=plan_bits_per_weight(plan),
        )
    )
    summary = quantize(description, plan, Path(request.out), device=request.device, watch=desk.watch)
    desk.put(
        CheckpointWritten(
            t=time.time(),
            run_id=request.run_id,
            checkpoint=str(summary.checkpoint),
            bytes=summary.bytes,
            source_bytes=summary.source_bytes,
            bits_per_weight=summary.bits_per_weight,
            model_bits_per_weight=summary.model_bits_per_weight,
            seconds=summary.seconds,
        )
    )
    tell_peak(desk.put, request.run_id)
