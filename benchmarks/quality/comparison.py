"""Ours and the peers on one model: every row goes through the same float32 model and the same judge."""

import contextlib
import io
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.quality.frontier import OURS, Point
from benchmarks.quality.judge import Judge, Score
from benchmarks.quality.peers import Setting
from benchmarks.quality.rebuild import write_model, write_ours
from fqconsole.models.description import ModelDescription
from quantizer.base import EXPERT_SETS, GroupSize, base_plan
from quantizer.candidate_errors import measure_candidates
from quantizer.device import resolve_device
from quantizer.engine import analyse, quantize
from quantizer.methods import methods_of
from quantizer.parts import Piece
from quantizer.plan import ExpertSets, Granularity
from quantizer.planner import Planner
from quantizer.reader import open_checkpoint
from quantizer.scheme import group_word

SIZES = (3, 4, 8)


@dataclass(frozen=True)
class Ours:
    """One way to use our quantizer."""

    bits: int
    mode: str
    granularity: Granularity = "adaptive"
    group_size: GroupSize = "default"
    target: float | None = None  # bits per weight: the planner's
    experts: ExpertSets = "model"

    @property
    def detail(self) -> str:
        if self.target is not None:
            return f"{self.mode}, planner" + ("" if self.experts == "model" else ", experts by layer")
        if self.granularity == "adaptive" or self.group_size == "default":
            return f"{self.mode}, {self.granularity}"
        return f"{self.mode}, {group_word(self.group_size)}"


@dataclass(frozen=True)
class Row:
    """One line: `size` 16 is the model itself."""

    model: str
    who: str
    detail: str
    size: int
    bits: float
    score: Score

    @property
    def point(self) -> Point:
        return Point(self.who, self.detail, self.size, self.bits, self.score.kl_divergence)


# What a user gets without asking, the planner at the bits of groups of 64 and 32, and mode best at the other
# group sizes, so that there is one of ours near the real bits of every peer.
CASES = tuple(Ours(bits, mode) for bits in SIZES for mode in ("finequant", "fast", "best"))
CASES += tuple(
    Ours(bits, "best", target=target, experts=experts)
    for bits, target in ((3, 3.25), (3, 3.5), (4, 4.25), (4, 4.5), (8, 8.06), (8, 8.25), (8, 8.5))
    for experts in EXPERT_SETS
)
CASES += tuple(
    Ours(bits, "best", "fixed", group)
    for bits, groups in ((3, (None, 128, 32, 16)), (4, (None, 128, 32, 16)), (8, (128, 64, 32)))
    for group in groups
)
# Each method beside what it builds on; fixed groups, so that all lines of a block have the same bits.
METHODS = (
    "absmax",
    "signed",
    "search",
    "search+p=2.4",
    "search+importance",
    "signed+balance",
    "search+balance",
    "search+importance+balance",
)
BLOCKS: tuple[tuple[int, GroupSize], ...] = ((4, 64), (4, None), (3, 64))
ABLATION = tuple(Ours(bits, mode, "fixed", group) for bits, group in BLOCKS for mode in METHODS)
ABLATION_MODELS = ("demo", "demo-outliers", "demo-outliers-scattered")


def compare(
    description: ModelDescription,
    cases: Sequence[Ours],
    settings: Sequence[Setting],
    *,
    text: str,
    tokens: int,
    device: str,
) -> Iterator[Row | str]:
    """The model itself, ours, the peers: one row each as soon as it is measured, or the sentence why one that
    was asked for is missing.
    """
    plan = base_plan(description, 4)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        reference = write_model(description, plan, work / "reference", lambda _, weights: weights.float())
        with Judge(reference, text, tokens, device) as judge:
            yield Row(description.id, "16-bit", description.dtype, 16, 16.0, judge.reference)
            for case in cases:
                if case.experts == "layer" and not description.experts:
                    continue
                with tempfile.TemporaryDirectory(dir=work) as folder:
                    bits = _write_case(description, case, Path(folder), device)
                    score = judge.score(Path(folder) / "model")
                    yield Row(description.id, OURS, case.detail, case.bits, bits, score)
            for setting in settings:
                with tempfile.TemporaryDirectory(dir=work) as folder:
                    try:
                        bits = write_setting(description, setting, Path(folder) / "model", device)
                        score = judge.score(Path(folder) / "model")
                    except Exception as failure:  # noqa: BLE001 -- a peer's trouble must not end the others
                        first = str(failure).split("\n", 1)[0]
                        what = f"{setting.who} {setting.bits} bits, {setting.detail}"
                        yield f"{what} fails on {description.id}: {type(failure).__name__}: {first[:160]}"
                        continue
                    yield Row(description.id, setting.who, setting.detail, setting.bits, bits, score)


def write_setting(description: ModelDescription, setting: Setting, out: Path, device: str) -> float:
    """The model as a peer leaves it; the bits that it keeps for each weight of the matrices."""
    place = resolve_device(device)
    kept = weights = 0.0

    def remake(piece: Piece, stored: Tensor) -> Tensor:
        nonlocal kept, weights
        with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            rebuilt = setting.rebuild(stored.to(place))
        if rebuilt.weight.shape != stored.shape or rebuilt.weight.dtype != torch.float32:
            raise ValueError(
                f"{piece.module} came back as {tuple(rebuilt.weight.shape)} {rebuilt.weight.dtype}"
            )
        kept += rebuilt.bits
        weights += math.prod(stored.shape)
        return rebuilt.weight.cpu()

    write_model(description, base_plan(description, 4), out, remake)
    return kept / weights


def _write_case(description: ModelDescription, case: Ours, folder: Path, device: str) -> float:
    """A checkpoint as a user's, and the model it stands for; its bits for each weight of the matrices."""
    methods = methods_of(case.mode)
    planner = None
    if case.target is not None:
        measured = measure_candidates(description, methods=methods, device=device)
        planner = Planner(description, measured, experts=case.experts)
        plan = planner.within_bits(case.target, f"{case.target:g} bits per weight")
    else:
        plan = analyse(
            description,
            bits=case.bits,
            granularity=case.granularity,
            group_size=case.group_size,
            methods=methods,
            device=device,
        )
    summary = quantize(description, plan, folder / "checkpoint", device=device)
    with open_checkpoint(folder / "checkpoint") as checkpoint:
        write_ours(description, plan, checkpoint, folder / "model")
    if planner is None:
        return summary.bits_per_weight
    return planner.plan_bytes(plan) * 8 / planner.weights  # with the matrices that stay in 16 bits
