"""A quantize job without weights: `bits` matrices of `threshold` seconds each, as noisy as libraries are."""

import os
import sys
import time
from pathlib import Path

from fqconsole.jobs.messages import CheckpointWritten, PlanReady
from quantizer.plan import MatrixPlan, Plan
from quantizer.scheme import Scheme
from quantizer.watch import MatrixResult

smallest_change = "Use fewer bits."


def run(request, desk):
    """Plan, then finish `request.bits` matrices; noise goes to every descriptor that libraries know."""
    count = request.bits
    matrices = tuple(
        MatrixPlan(
            name=f"model.layers.{index}.q_proj",
            tensors=(f"model.layers.{index}.q_proj.weight",),
            shape=(64, 64),
            layer=index,
            kind="q_proj",
            fused_set=f"{index}.qkv",
            scheme=Scheme(bits=4, group_size=32),
            statistic={"64": 0.5 + index / 100},
            reason="range halves",
        )
        for index in range(count)
    )
    plan = Plan(
        model=request.model_id,
        revision=None,
        bits=request.bits,
        granularity=request.granularity,
        group_size=64,
        threshold=request.threshold,
        scale_dtype="bfloat16",
        matrices=matrices,
        kept=(),
    )
    desk.put(
        PlanReady(t=time.time(), run_id=request.run_id, plan=plan, predicted_bytes=1000, bits_per_weight=4.5)
    )
    desk.watch.phase("quantize", count, "matrices")
    for index, matrix in enumerate(matrices):
        desk.watch.checkpoint()
        print('{"type":"JobDone","run_id":"noise"}')
        sys.stderr.write("noise on stderr\n")
        os.write(1, b'{"half a line')
        time.sleep(request.threshold)
        desk.watch.matrix(MatrixResult(index, count, matrix, 0.05 + index / 1000, 0.01))
        desk.watch.progress(index + 1)
    desk.put(
        CheckpointWritten(
            t=time.time(),
            run_id=request.run_id,
            checkpoint=str(Path(request.out)),
            bytes=2000,
            source_bytes=8000,
            bits_per_weight=4.5,
            model_bits_per_weight=6.0,
            seconds=1.5,
        )
    )
