"""The pictures of docs/method.md, measured on the built-in models: `python -m benchmarks.method_plots`.

    docs/method-groups.svg     relative squared error of every matrix against the size of its groups
    docs/method-planner.svg    KL divergence against bits per weight, of the rules and of the planner

The second takes some minutes on a CPU; `--planner FILE` draws it from what `python -m benchmarks.quality
--planner --json --models demo` printed before.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks._chart import Panel, Series, chart
from benchmarks._table import hardware
from benchmarks.quality import planner
from fqconsole.demo import heldout_text
from fqconsole.models import ModelDescription, describe, resolve_model
from quantizer.engine import analyse
from quantizer.ladder import RUNGS
from quantizer.methods import methods_of
from quantizer.parts import Piece, plan_parts
from quantizer.plan import Plan
from quantizer.rounding import absmax_scales, dequantize, round_to_codes, squared_norms
from quantizer.source import TensorFile

BITS = 4
GROUP_MODELS = ("demo", "demo-outliers")
PLANNED_MODEL = "demo"


@dataclass(frozen=True)
class GroupErrors:
    """One matrix: relative squared error by group size (None: a scale a row), and what the rule chose."""

    errors: dict[int | None, float]
    chosen: int | None


def group_errors(weights: Tensor, chosen: int | None) -> GroupErrors:
    """Plain rounding of float32 weights `[N, K]` at 4 bits, with every group size that divides K."""
    errors: dict[int | None, float] = {}
    for group in (None, *(rung for rung in RUNGS if weights.shape[1] % rung == 0)):
        scales = absmax_scales(weights, BITS, group, torch.bfloat16, "matrix")
        error, norm = squared_norms(weights, dequantize(round_to_codes(weights, scales, BITS), scales))
        errors[group] = error / norm
    return GroupErrors(errors, chosen)


def measured_groups(model: str) -> list[GroupErrors]:
    """Every matrix of a built-in model, with the adaptive rule's choice in mode `finequant`."""
    description = describe(resolve_model(model))
    plan = analyse(description, bits=BITS, methods=methods_of("finequant"), device="cpu")
    return [
        group_errors(weights, plan.matrices[piece.matrix].scheme.group_size)
        for piece, weights in _matrices(description, plan)
    ]


def _matrices(description: ModelDescription, plan: Plan) -> Iterator[tuple[Piece, Tensor]]:
    for part in plan_parts(description, plan):
        with TensorFile(Path(str(description.path)) / part.source_file) as opened:
            for item in part.items:
                if isinstance(item, Piece):
                    yield item, opened.piece_rows(item, 0, item.rows).float()


def groups_svg(found: Mapping[str, Sequence[GroupErrors]]) -> str:
    """One line a matrix, one panel a model, and a dot at the size that the rule chose."""
    sizes = (None, *RUNGS)
    panels = []
    for model, matrices in found.items():
        lines = [
            [(float(sizes.index(size)), error) for size, error in matrix.errors.items()]
            for matrix in matrices
        ]
        chosen = [(float(sizes.index(matrix.chosen)), matrix.errors[matrix.chosen]) for matrix in matrices]
        panels.append(
            Panel(
                model,
                [
                    *(Series("a matrix", line, "thin", line=True, marks=False) for line in lines),
                    Series("what the rule chose", chosen, "ours"),
                ],
                [
                    (float(place), "channel" if size is None else str(size))
                    for place, size in enumerate(sizes)
                ],
                "weights that share a scale",
            )
        )
    about = "Finer groups lose less, the more so the more outliers there are. " + " ".join(
        f"{model}: the rule chose {_counted(matrices)}." for model, matrices in found.items()
    )
    return chart("int4, plain rounding: error against group size", about, "‖W − Ŵ‖² ÷ ‖W‖²", panels)


def _counted(matrices: Sequence[GroupErrors]) -> str:
    chosen = [matrix.chosen for matrix in matrices]
    words = {size: "channel" if size is None else f"groups of {size}" for size in (None, *RUNGS)}
    return ", ".join(f"{words[size]} for {chosen.count(size)} matrices" for size in words if size in chosen)


def planner_svg(lines: Sequence[Mapping[str, object]]) -> str:
    """KL divergence against size of the lines that `benchmarks.quality --planner --json` prints, by mode."""
    ticks = [(float(bits), str(bits)) for bits in range(3, 10)]
    panels = []
    for mode in planner.MODES:
        ours = [line for line in lines if line["mode"] == mode]
        rules, planned = (
            sorted(
                (float(str(line["bits_per_weight"])), 1000 * float(str(line["kl_divergence"])))
                for line in ours
                if (line["plan"] == "planned") is wanted
            )
            for wanted in (False, True)
        )
        panels.append(
            Panel(
                f"{lines[0]['model']}, mode {mode}",
                [Series("the rules", rules, "other"), Series("the planner", planned, "ours", line=True)],
                ticks,
                "bits per weight, everything counted",
            )
        )
    gains = [float(str(line["gain"])) for line in lines if line["gain"] is not None]
    about = (
        "At the size of each rule's checkpoint the planner's loses less: the divergence is divided by "
        f"{min(gains):.1f} at least and {max(gains):.0f} at most."
    )
    return chart("Loss against size, rules and planner", about, "KL divergence to 16 bits × 1000", panels)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.method_plots", description="The pictures of docs/method.md, measured anew."
    )
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder to write to; docs by default")
    parser.add_argument("--tokens", type=int, default=1024, help="tokens to score at most")
    parser.add_argument("--planner", type=Path, help="a JSON that benchmarks.quality --planner printed")
    options = parser.parse_args()
    place = hardware(torch.device("cpu"))
    options.out.mkdir(parents=True, exist_ok=True)
    groups = {model: measured_groups(model) for model in GROUP_MODELS}
    (options.out / "method-groups.svg").write_text(groups_svg(groups), encoding="utf-8")
    for model, matrices in groups.items():
        print(f"{model}: the rule chose {_counted(matrices)}")
    if options.planner is not None:
        kept = json.loads(options.planner.read_text())
        place, lines = kept["hardware"], kept["lines"]
    else:
        compared = planner.compared(PLANNED_MODEL, options.tokens, "cpu", heldout_text(1000))
        lines = [asdict(line) for line in compared]
    (options.out / "method-planner.svg").write_text(planner_svg(lines), encoding="utf-8")
    print(f"{place}\nwritten: {options.out / 'method-groups.svg'}, {options.out / 'method-planner.svg'}")


if __name__ == "__main__":
    main()
