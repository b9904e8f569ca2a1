"""The plan job: measure what each candidate would lose; decide FineQuant's rule where it is asked for."""

import time
from pathlib import Path

from fqconsole.jobs.desk import Desk
from fqconsole.jobs.messages import CandidatesMeasured, StartPlan
from fqconsole.jobs.model_folder import look_at
from quantizer.analysis import analyse, source_folder
from quantizer.candidate_errors import measure_candidates
from quantizer.measured import load_measured, measured_path, save_measured
from quantizer.methods import methods_of
from quantizer.plan import without_channels

smallest_change = "Free memory on the GPU, or plan with --device cpu."


def run(request: StartPlan, desk: Desk) -> None:
    """Measure `request.model_path`, unless that was done before."""
    begun = time.monotonic()
    description = look_at(Path(request.model_path), request.model_id)
    methods = methods_of(request.mode)
    path = measured_path(source_folder(description), description, methods)
    if load_measured(path) is None:
        measured = measure_candidates(description, methods=methods, device=request.device, watch=desk.watch)
        save_measured(path, measured)
    plan = None
    if request.bits is not None:
        plan = analyse(
            description,
            bits=request.bits,
            granularity=request.granularity,
            group_size=request.group_size,
            threshold=request.threshold,
            methods=methods,
            experts=request.experts,
            head=request.head,
            device=request.device,
            watch=desk.watch,
        )
    desk.put(
        CandidatesMeasured(
            t=time.time(),
            path=str(path),
            seconds=time.monotonic() - begun,
            plan=None if plan is None else without_channels(plan),
        )
    )
