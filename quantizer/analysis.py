"""Read every matrix once and decide the groups: the plan that the writing then follows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from fqconsole.errors import UsageError
from fqconsole.models.description import ModelDescription
from quantizer.balancing import choose_channels
from quantizer.base import GroupSize, base_of, base_plan
from quantizer.channels import Channels, Columns
from quantizer.device import (
    block_rows,
    resolve_devices,
)
from quantizer.granularity import RangeMeter
from quantizer.ladder import DEFAULT_THRESHOLD, Choice, RangeProfile, adaptive_rungs, choose_group, statistic
from quantizer.matrices import EXPERTS_SET
from quantizer.methods import DEFAULT_MODE, MODES, Methods
from quantizer.parts import Piece
from quantizer.plan import ExpertSets, Granularity, MatrixPlan, Plan, quantized_share
from quantizer.preparing import prepare_kernels
from quantizer.scheme import Scheme, group_word
from quantizer.survey import survey
from quantizer.watch import SilentWatch, Watch

Profiles = Mapping[int, Sequence[RangeProfile]]  # by index in the plan; of a stack one per expert

SMALL_SHARE = 0.5  # below it the operator should hear why so much stays in 16 bits


def analyse(
    description: ModelDescription,
    *,
    bits: int,
    granularity: Granularity = "adaptive",
    group_size: GroupSize = "default",
    threshold: float = DEFAULT_THRESHOLD,
    methods: Methods = MODES[DEFAULT_MODE],
    experts: ExpertSets = "model",
    head: int = 16,
    device: str = "auto",
    watch: Watch | None = None,
) -> Plan:
    """Balance channels, measure the ranges of every matrix, and choose a scheme for each fused set.

    Memory is bounded by one block of rows and a few numbers a channel. Raises UsageError for a model that
    can't be quantized (not on this machine, quantized already, nothing to quantize) or a scheme that does not
    exist, OperatorError for damaged files and weights that are not finite, DeviceError, and Cancelled from
    the watch.
    """
    watch = watch or SilentWatch()
    devices = resolve_devices(device)
    folder = source_folder(description)
    draft = base_plan(
        description, bits, granularity, group_size, threshold, methods=methods, experts=experts, head=head
    )
    require_matrices(draft)
    _warn_of_kept(draft, watch)
    prepare_kernels(description, draft, devices[0], analysing=True)
    found = choose_channels(folder, description, draft, devices, watch)
    draft = msgspec.structs.replace(draft, channels=found)
    profiles = _measure(folder, description, draft, devices, watch)
    plan = decide(draft, profiles, watch)
    _tell_outcome(draft, plan, watch)
    return plan


def source_folder(description: ModelDescription) -> Path:
    """The folder of a 16-bit model on this machine. Raises UsageError where there is none."""
    if description.quantization is not None:
        raise UsageError(
            f"{description.id} is quantized already ({description.quantization.method}).",
            "Choose its 16-bit original.",
        )
    if description.path is None:
        raise UsageError(f"{description.id} is not on this machine.", "Download it first.")
    return Path(description.path)


def require_matrices(plan: Plan) -> None:
    """Raises UsageError, with the reasons, when a plan quantizes nothing."""
    if plan.matrices:
        return
    reasons = ", ".join(dict.fromkeys(kept.reason for kept in plan.kept if len(kept.shape) > 1))
    raise UsageError(
        f"{plan.model} has no matrix that can be quantized (kept: {reasons or 'everything'}).",
        "Choose another model.",
    )


def decide(draft: Plan, profiles: Profiles, watch: Watch) -> Plan:
    """The plan with the schemes that the measured ranges ask for; a fixed plan only gains its statistics."""
    bases = {
        width: base_of(width, draft.bits, draft.group_size)
        for width in {matrix.scheme.bits for matrix in draft.matrices}
    }
    rungs = {width: adaptive_rungs(width, base) for width, base in bases.items()}
    sets: dict[str, list[int]] = defaultdict(list)
    for index, matrix in enumerate(draft.matrices):
        sets[matrix.fused_set].append(index)
    choices: dict[str, Choice] = {}
    if draft.granularity != "fixed":
        for word, members in sets.items():
            pooled = [profile for index in members for profile in profiles[index]]
            width = draft.matrices[members[0]].scheme.bits
            choices[word] = choose_group(pooled, bases[width], rungs[width], draft.threshold)
            if word == EXPERTS_SET:
                _tell_layers_apart(draft, members, profiles, chosen=choices[word], watch=watch)
    matrices = tuple(
        _decided(
            matrix,
            choices.get(matrix.fused_set),
            statistic(profiles[index], rungs[matrix.scheme.bits]),
            len(sets[matrix.fused_set]),
        )
        for index, matrix in enumerate(draft.matrices)
    )
    return msgspec.structs.replace(draft, matrices=matrices)


def _decided(
    matrix: MatrixPlan, choice: Choice | None, measured: dict[str, float], members: int
) -> MatrixPlan:
    if choice is None:
        return msgspec.structs.replace(matrix, statistic=measured)
    scheme = Scheme(matrix.scheme.bits, choice.group_size)
    reason = f"{choice.reason}; one of {members} that decide together" if members > 1 else choice.reason
    return msgspec.structs.replace(matrix, scheme=scheme, statistic=measured, reason=reason)


def _measure(
    folder: Path,
    description: ModelDescription,
    draft: Plan,
    devices: Sequence[torch.device],
    watch: Watch,
) -> Profiles:
    channels = Channels(folder, description, draft)

    def look(piece: Piece, first: int, rows: Tensor, device: torch.device) -> RangeMeter:
        columns = channels.columns_on(draft.matrices[piece.matrix].name, device)
        return _measure_rows(piece, first, rows, columns, device)

    profiles: dict[int, list[RangeProfile]] = defaultdict(list)
    for piece, seen in survey(
        folder, description, draft, look, devices=devices, watch=watch, phase="analyse"
    ):
        meter = RangeMeter(piece.module, piece.k)
        for came in seen:
            meter.merge(came.learned)
        profiles[piece.matrix].append(meter.profile())
    return profiles


def _measure_rows(
    piece: Piece, first: int, rows: Tensor, columns: Columns, device: torch.device
) -> RangeMeter:
    meter = RangeMeter(piece.module, piece.k)
    there = rows.to(device, non_blocking=True)
    step = block_rows(device, piece.k)
    for at in range(0, len(rows), step):
        block = there[at : at + step]
        meter.add(block, columns, first + at)
    return meter


def _tell_layers_apart(
    draft: Plan,
    members: Sequence[int],
    profiles: Profiles,
    *,
    chosen: Choice,
    watch: Watch,
) -> None:
    """Say which layers' experts alone would decide otherwise, as `--experts layer` lets them."""
    rungs = adaptive_rungs(draft.bits, draft.group_size)
    layers: dict[int | None, list[RangeProfile]] = defaultdict(list)
    for index in members:
        layers[draft.matrices[index].layer].extend(profiles[index])
    others = {
        layer: alone.group_size
        for layer, held in layers.items()
        if (alone := choose_group(held, draft.group_size, rungs, draft.threshold)).group_size
        != chosen.group_size
    }
    if others:
        words = ", ".join(f"layer {layer}: {group_word(group)}" for layer, group in others.items())
        watch.log(
            "warning",
            f"All routed experts share groups of {group_word(chosen.group_size)}, because transformers reads "
            f"one scheme for all of them; with --experts layer some would differ ({words}).",
        )


def _warn_of_kept(draft: Plan, watch: Watch) -> None:
    share = quantized_share(draft)
    if share < SMALL_SHARE:
        largest: dict[str, int] = defaultdict(int)
        for kept in draft.kept:
            largest[kept.reason] += kept.bytes
        reason = max(largest, key=lambda word: largest[word])
        watch.log(
            "warning", f"Only {share:.0%} of the weights are quantized; most of what is kept: {reason}."
        )


def _tell_outcome(draft: Plan, plan: Plan, watch: Watch) -> None:
    if plan.granularity == "fixed":
        return
    finer = {
        after.fused_set
        for before, after in zip(draft.matrices, plan.matrices, strict=True)
        if before.scheme != after.scheme
    }
    if finer:
        total = len({matrix.fused_set for matrix in plan.matrices})
        watch.log("info", f"{len(finer)} of {total} sets of matrices went to finer groups.")
    else:
        base = group_word(plan.group_size)
        watch.log("info", f"No outliers found: adaptive equals the base ({base}) on this model.")
