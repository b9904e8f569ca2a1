"""The planner beside FineQuant's rule and fixed groups at equal bits per weight, and its sensitivities.

Every line of the first table is a checkpoint written and read back as a user's. For the second each matrix is
rounded alone, and the KL divergence that this causes set beside what the rule of sensitivities says.
"""

import argparse
import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks._table import hardware, table
from fqconsole.evaluation import evaluate
from fqconsole.generation import open_session
from fqconsole.models import describe, resolve_model
from quantizer.base import GroupSize
from quantizer.candidate_errors import measure_candidates
from quantizer.device import resolve_device
from quantizer.engine import analyse, quantize
from quantizer.methods import methods_of
from quantizer.plan import Granularity, Plan
from quantizer.planner import Planner
from quantizer.rounding import dequantize, round_to_codes, signed_scales
from quantizer.watch import SilentWatch

MODES = ("finequant", "best")
# What the planner is set beside, each at the bits per weight that it comes to itself.
RULES: tuple[tuple[int, Granularity, GroupSize], ...] = (
    (3, "fixed", 64),
    (3, "fixed", 32),
    (3, "adaptive", "default"),
    (4, "fixed", None),
    (4, "fixed", 64),
    (4, "fixed", 32),
    (4, "adaptive", "default"),
    (8, "fixed", None),
    (8, "adaptive", "default"),
)
ROUNDED_ALONE = (3, 64)  # bits and group: a loss that stands out of the noise
WINDOW = 256


@dataclass(frozen=True)
class Line:
    """One checkpoint; `gain` of a planned one is the KL divergence of the rule before it ÷ its own."""

    model: str
    mode: str
    plan: str
    schemes: dict[str, int]
    bits_per_weight: float
    predicted_loss: float | None
    kl_divergence: float
    perplexity: float
    top1_agreement: float
    gain: float | None


def compared(model: str, tokens: int, device: str, text: str) -> Iterator[Line]:
    """Every rule, and the planner at the same bits per weight; the same plan is not measured twice."""
    description = describe(resolve_model(model))

    def line(plan: Plan, word: str, before: Line | None = None) -> Line:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "checkpoint"
            quantize(description, plan, out, device=device)
            source = Path(str(description.path))
            found = evaluate(out, source, text, max_tokens=tokens, device=device, watch=SilentWatch())
        schemes = Counter(f"{held.bits}/{held.group_word}" for held in planner.schemes(plan).values())
        return Line(
            model=description.id,
            mode=mode,
            plan=word,
            schemes=dict(schemes.most_common()),
            bits_per_weight=planner.plan_bytes(plan) * 8 / planner.weights,
            predicted_loss=planner.plan_loss(plan),
            kl_divergence=found.kl_divergence,
            perplexity=found.perplexity,
            top1_agreement=found.top1_agreement,
            gain=None if before is None else before.kl_divergence / found.kl_divergence,
        )

    for mode in MODES:
        methods = methods_of(mode)
        measured = measure_candidates(description, methods=methods, device=device)
        planner = Planner(description, measured)
        freer = Planner(description, measured, experts="layer") if description.experts else None
        seen = []
        for bits, granularity, group in RULES:
            rule = analyse(
                description,
                bits=bits,
                granularity=granularity,
                group_size=group,
                methods=methods,
                device=device,
            )
            if planner.schemes(rule) in seen:
                continue
            seen.append(planner.schemes(rule))
            word = "adaptive" if granularity == "adaptive" else f"fixed {group or 'channel'}"
            first = line(rule, f"int{bits} {word}")
            yield first
            limit = planner.plan_bytes(rule)
            yield line(planner.within_bytes(limit, "as large"), "planned", first)
            if freer is not None:
                yield line(freer.within_bytes(limit, "as large"), "planned, experts by layer", first)


def show(lines: list[Line]) -> str:
    """The table for people."""
    header = (
        "model",
        "mode",
        "plan",
        "bits/weight",
        "predicted",
        "KL x 1000",
        "top-1",
        "gain",
    )
    rows = [
        (
            line.model,
            line.mode,
            line.plan,
            f"{line.bits_per_weight:.3f}",
            "-" if line.predicted_loss is None else f"{line.predicted_loss:.3%}",
            f"{line.kl_divergence * 1000:.3f}",
            f"{line.top1_agreement:.2%}",
            "" if line.gain is None else f"{line.gain:.2f}",
        )
        for line in lines
    ]
    return table(header, rows)


@dataclass(frozen=True)
class Alone:
    """One matrix rounded alone: its share of the sum of all, as measured and as the rule says."""

    model: str
    matrix: str
    kl_divergence: float
    measured_share: float
    predicted_share: float


def alone(model: str, tokens: int, device: str, text: str) -> list[Alone]:
    """KL divergence that rounding each matrix on its own causes, beside what the rule predicts."""
    description = describe(resolve_model(model))
    planner = Planner(description, measure_candidates(description, methods=methods_of("fast"), device=device))
    with open_session(Path(str(description.path)), device=device) as session:
        ids = torch.tensor(session.tokenizer(text)["input_ids"][: tokens // WINDOW * WINDOW]).view(-1, WINDOW)
        reference = torch.log_softmax(session.logits(ids), dim=-1)
        parameters = dict(session._model.named_parameters())
        found: dict[str, tuple[float, float]] = {}
        for matrix in planner.draft.matrices:
            place = _place(parameters, matrix.name, matrix.shape)
            kept = place.data.clone()
            rows = kept.float().reshape(-1, kept.shape[-1])
            bits, group = ROUNDED_ALONE
            scales = signed_scales(rows, bits, group, torch.bfloat16, matrix.name)
            made = dequantize(round_to_codes(rows, scales, bits), scales)
            error = float((made - rows).square().sum() / rows.square().sum())
            place.data.copy_(made.reshape(kept.shape))
            logp = torch.log_softmax(session.logits(ids), dim=-1)
            divergence = float((reference.exp() * (reference - logp)).sum(dim=-1).double().mean())
            place.data.copy_(kept)
            found[matrix.name] = divergence, divergence / error
    total = math.fsum(share for _, share in found.values())
    return [
        Alone(model, name, divergence, share / total, planner.share(name))
        for name, (divergence, share) in found.items()
    ]


def _place(parameters: dict[str, torch.Tensor], name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Where a matrix lies in the model; of gate and up that are one parameter, its half."""
    for candidate in (f"{name}.weight", name):
        if candidate in parameters:
            return parameters[candidate]
    place, _, kind = name.rpartition(".")
    both = parameters[f"{place}.gate_up_proj"]
    return both[:, : shape[1]] if kind == "gate_proj" else both[:, shape[1] :]


def show_alone(lines: list[Alone]) -> str:
    """The table for people, with the agreement of the two columns."""
    header = ("matrix", "KL x 1000", "measured share", "predicted share")
    rows = [
        (
            line.matrix,
            f"{line.kl_divergence * 1000:.4f}",
            f"{line.measured_share:.2%}",
            f"{line.predicted_share:.2%}",
        )
        for line in lines
    ]
    logs = torch.tensor([[line.measured_share, line.predicted_share] for line in lines]).clamp_min(1e-9).log()
    agreement = float(torch.corrcoef(logs.T)[0, 1])
    return f"{table(header, rows)}\n{lines[0].model}: correlation of the logarithms {agreement:.2f}"


def run(models: Sequence[str], options: argparse.Namespace, text: str) -> None:
    """Print the tables, model by model, or one JSON object."""
    place = hardware(resolve_device(options.device))
    if not options.json:
        print(f"{place}\nat most {options.tokens} tokens")
    found: list[Line] | list[Alone] = []
    for model in models:
        if options.sensitivity:
            shares = alone(model, options.tokens, options.device, text)
            shown = show_alone(shares)
            found = [*found, *shares]
        else:
            lines = list(compared(model, options.tokens, options.device, text))
            shown = show(lines)
            found = [*found, *lines]
        if not options.json:
            print(shown, flush=True)
    if options.json:
        print(json.dumps({"hardware": place, "lines": [asdict(line) for line in found]}))
