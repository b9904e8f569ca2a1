"""Ours alone: every line is a checkpoint written and read back as any user's would be."""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmarks._table import hardware, table
from fqconsole.evaluation import evaluate
from fqconsole.models import describe, resolve_model
from quantizer.base import GroupSize
from quantizer.device import resolve_device
from quantizer.engine import analyse, quantize
from quantizer.methods import methods_of
from quantizer.plan import Granularity
from quantizer.watch import SilentWatch

DEFAULT: Literal["default"] = "default"
Case = tuple[int, Granularity, GroupSize, str]  # bits, granularity, group, mode
# What is asked of a model at its usual ladder, and of one whose outliers make the group size matter.
USUAL: tuple[Case, ...] = tuple(
    (bits, "adaptive", DEFAULT, mode) for bits in (8, 4, 3) for mode in ("finequant", "fast", "best")
)
OUTLIERS: tuple[Case, ...] = (
    (4, "fixed", None, "finequant"),
    (4, "fixed", 64, "finequant"),
    (4, "fixed", 32, "finequant"),
    (4, "adaptive", DEFAULT, "finequant"),
    (4, "fixed", None, "best"),
    (4, "adaptive", DEFAULT, "best"),
)


@dataclass(frozen=True)
class Line:
    """One row of the table; `groups` counts the matrices at each group size."""

    model: str
    precision: str
    mode: str
    granularity: str
    groups: dict[str, int]
    bits_per_weight: float
    model_bits_per_weight: float
    perplexity: float
    kl_divergence: float
    top1_agreement: float
    tokens: int
    quantize_seconds: float
    evaluate_seconds: float


def cases_of(model: str) -> tuple[Case, ...]:
    """What is asked of a model."""
    return OUTLIERS if model.startswith("demo-outliers") else USUAL


def measure(model: str, cases: Sequence[Case], tokens: int, device: str, text: str) -> list[Line]:
    """The 16-bit line and one line per case."""
    description = describe(resolve_model(model))
    if description.path is None:
        raise SystemExit(f"{model} is not on this machine")
    source = Path(description.path)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        for bits, granularity, group_size, mode in cases:
            begun = time.monotonic()
            plan = analyse(
                description,
                bits=bits,
                granularity=granularity,
                group_size=group_size,
                methods=methods_of(mode),
                device=device,
            )
            analysed = time.monotonic() - begun
            out = Path(folder) / f"{bits}-{granularity}-{group_size}-{mode}"
            summary = quantize(description, plan, out, device=device)
            result = evaluate(out, source, text, max_tokens=tokens, device=device, watch=SilentWatch())
            if not lines:
                sixteen = (result.reference_perplexity, 0.0, 1.0, result.tokens, 0.0, 0.0)
                lines.append(Line(model, description.dtype, "", "", {}, 16.0, 16.0, *sixteen))
            groups = [matrix.scheme.group_word for matrix in plan.matrices]
            lines.append(
                Line(
                    model=model,
                    precision=f"int{bits}",
                    mode=mode,
                    granularity=_word(granularity, group_size),
                    groups={word: groups.count(word) for word in sorted(set(groups))},
                    bits_per_weight=summary.bits_per_weight,
                    model_bits_per_weight=summary.model_bits_per_weight,
                    perplexity=result.perplexity,
                    kl_divergence=result.kl_divergence,
                    top1_agreement=result.top1_agreement,
                    tokens=result.tokens,
                    quantize_seconds=analysed + summary.seconds,
                    evaluate_seconds=result.seconds,
                )
            )
    return lines


def show(lines: list[Line]) -> str:
    """The table for people."""
    header = (
        "model",
        "precision",
        "mode",
        "groups",
        "bits/weight",
        "whole model",
        "perplexity",
        "KL",
        "top-1",
    )
    rows = [
        (
            line.model,
            line.precision,
            line.mode,
            _groups(line),
            f"{line.bits_per_weight:.2f}",
            f"{line.model_bits_per_weight:.2f}",
            f"{line.perplexity:.3f}" if math.isfinite(line.perplexity) else "overflow",
            f"{line.kl_divergence:.5f}",
            f"{line.top1_agreement * 100:.1f} %",
        )
        for line in lines
    ]
    return table(header, rows)


def _word(granularity: Granularity, group_size: GroupSize) -> str:
    if granularity == "adaptive":
        return "adaptive"
    return "channel" if group_size is None else str(group_size)


def _groups(line: Line) -> str:
    if line.granularity != "adaptive":
        return line.granularity
    return "adaptive: " + ", ".join(f"{count} x {word}" for word, count in line.groups.items())


def run(models: Sequence[str], options: argparse.Namespace, text: str) -> None:
    """Print the table, or one JSON object."""
    lines = [
        line
        for model in models
        for line in measure(model, cases_of(model), options.tokens, options.device, text)
    ]
    place = hardware(resolve_device(options.device))
    if options.json:
        print(json.dumps({"hardware": place, "lines": [asdict(line) for line in lines]}))
        return
    print(place)
    print(f"windows of 512 tokens, {lines[0].tokens} tokens scored")
    print(show(lines))
