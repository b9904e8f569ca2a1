"""The quantize job: describe the model, decide the plan, write the checkpoint."""

import time
from collections.abc import Mapping
from pathlib import Path

from fqconsole.errors import OperatorError
from fqconsole.jobs.ahead import Ahead
from fqconsole.jobs.desk import Desk
from fqconsole.jobs.memory_peak import tell_peak
from fqconsole.jobs.messages import CheckpointWritten, PlanReady, StartQuantize
from fqconsole.jobs.model_folder import look_at
from fqconsole.models.description import ModelDescription
from quantizer import base_plan, plan_bits_per_weight, predicted_bytes
from quantizer.analysis import source_folder
from quantizer.checkpoint import find_unfinished, unfinished_plan
from quantizer.device import resolve_devices
from quantizer.engine import analyse, quantize
from quantizer.measured import load_plan, plan_path
from quantizer.methods import methods_of
from quantizer.plan import Plan, without_channels
from quantizer.source_hashes import SourceHashes

smallest_change = "Free memory on the GPU, or quantize with --device cpu; finished shards are kept."


def run(request: StartQuantize, desk: Desk) -> None:
    """Quantize `request.model_path` into `request.out`."""
    description = look_at(Path(request.model_path), request.model_id)
    with SourceHashes(source_folder(description), is_held=lambda: desk.watch.is_held) as hashes:
        _quantize(request, description, hashes, desk)


def _quantize(
    request: StartQuantize, description: ModelDescription, hashes: SourceHashes, desk: Desk
) -> None:
    plan = _ruled(request, description, hashes, desk) if request.plan_path is None else _planned(request)
    ahead = desk.watch.ahead or _foresee(request, description, {}, desk)
    desk.put(
        PlanReady(
            t=time.time(),
            run_id=request.run_id,
            plan=without_channels(plan),
            predicted_bytes=predicted_bytes(plan),
            bits_per_weight=plan_bits_per_weight(plan),
        )
    )
    summary = quantize(
        description, plan, Path(request.out), device=request.device, watch=desk.watch, hashes=hashes
    )
    ahead.finish()
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


def _ruled(request: StartQuantize, description: ModelDescription, hashes: SourceHashes, desk: Desk) -> Plan:
    """The plan of an unfinished run that was begun as this one is, or a new one by the rule."""
    methods = methods_of(request.mode)
    draft = base_plan(
        description,
        request.bits,
        request.granularity,
        request.group_size,
        request.threshold,
        methods=methods,
        experts=request.experts,
        head=request.head,
    )
    unfinished = unfinished_plan(Path(request.out), draft)
    if unfinished is not None:
        return unfinished
    sizes = {tensor.name: tensor.bytes for tensor in description.tensors}
    read = {name for matrix in draft.matrices for name in matrix.tensors}
    hashes.begin((tensor.file for tensor in description.tensors), resolve_devices(request.device))
    _foresee(request, description, {"analyse": sum(sizes[name] for name in read)}, desk)
    return analyse(
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


def _foresee(
    request: StartQuantize, description: ModelDescription, before: Mapping[str, float], desk: Desk
) -> Ahead:
    """From now on the time left that is told is that of the job: `before` are the phases before writing, with
    their units.
    """
    place = resolve_devices(request.device)[0].type
    whole = sum(tensor.bytes for tensor in description.tensors)
    desk.watch.ahead = Ahead(f"{request.mode} on {place}", {**before, "quantize": whole})
    return desk.watch.ahead


def _planned(request: StartQuantize) -> Plan:
    """The plan that was made before; where its file is gone, the one that an unfinished run holds."""
    path = Path(str(request.plan_path))
    found = load_plan(path)
    if found is None:
        unfinished = find_unfinished(Path(request.out))
        if unfinished is None or plan_path(unfinished.plan).name != path.name:
            raise OperatorError(f"The plan {path} is gone.", "Plan again, with the same target.")
        found = unfinished.plan
    return found
