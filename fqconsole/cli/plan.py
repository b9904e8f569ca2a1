"""`fqconsole plan`: bits and group of every matrix, before anything is written."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli.options import (
    Batch,
    Context,
    Device,
    Experts,
    Fit,
    Gpus,
    GroupSize,
    Head,
    Json,
    MaxLoss,
    Mode,
    Model,
    Quiet,
    TargetBits,
    Widths,
)
from fqconsole.cli.options import PlanFile as PlanOption
from fqconsole.cli.output import Output
from fqconsole.errors import UsageError

if TYPE_CHECKING:
    from quantizer.plan import Plan
    from quantizer.planner import Planner

PLOT_ROWS, PLOT_COLUMNS = 12, 56


def plan(
    model: Model,
    *,
    bits: Annotated[
        int | None,
        typer.Option(metavar="BITS", help="FineQuant's rule at 8, 4 or 3 bits. [default: 4]"),
    ] = None,
    group_size: GroupSize = None,
    target_bits: TargetBits = None,
    fit: Fit = None,
    max_loss: MaxLoss = None,
    widths: Widths = None,
    plan_file: PlanOption = None,
    gpus: Gpus = 1,
    context: Context = None,
    batch: Batch = 1,
    mode: Mode = "best",
    experts: Experts = "model",
    head: Head = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the plan as TOML, to be edited, for quantize --plan."),
    ] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what quantizing would do with each matrix, its size, and what it is predicted to lose.

    The first time the candidates of the model are measured, in a worker; after that every target is answered
    at once.
    """
    from fqconsole.cli.planning import Wish, experts_of, head_of, measured, mode_of, widths_of, wished
    from fqconsole.cli.quantize import chosen_options, source_model, usual_bits
    from fqconsole.cli.run_store import open_store
    from quantizer.methods import methods_of, mode_word
    from quantizer.plan_file import plan_text

    output = Output(json=json, quiet=quiet)
    wish = Wish(target_bits, fit, max_loss, plan_file, gpus, context, batch, widths)
    wish.check(bits=bits, group_size=group_size)
    sets = experts_of(wish, experts)
    head_bits = head_of(wish, head)
    rule = None
    if not wish.named:
        rule = chosen_options(bits or usual_bits(), None, group_size, 0.7, experts=sets, head=head_bits)
    if rule is not None:
        rule.pop("mode")
    word = mode_word(methods_of(mode_of(wish, mode)))
    description = source_model(model)
    with open_store() as store:
        planner, ruled = measured(
            store,
            output,
            description,
            mode=word,
            experts=sets,
            head=head_bits,
            widths=widths_of(wish),
            device=device,
            rule=rule,
        )
    made = wished(planner, description, wish) if wish.named else ruled
    if made is None:
        raise UsageError("The plan ended without a result.", "Run it again.")
    if save is not None:
        _save(save, plan_text(planner, made, word))
        output.say(f"wrote {save}; quantize it: fqconsole quantize {model} --plan {save}")
    if json:
        output.result(document(planner, made, word))
    else:
        output.line(page(planner, made))


def _save(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as failure:
        raise UsageError(f"{path} can't be written: {failure.strerror}.", "Choose another file.") from failure


def document(planner: "Planner", made: "Plan", mode: str) -> dict[str, Any]:
    """The plan for scripts."""
    schemes = planner.schemes(made)
    return {
        "model": made.model,
        "mode": mode,
        "widths": made.widths,
        "target": made.target or f"FineQuant's rule, {made.bits} bits",
        "bytes": planner.plan_bytes(made),
        "bits_per_weight": planner.plan_bytes(made) * 8 / max(1, planner.weights),
        "predicted_loss": planner.plan_loss(made),
        "matrices": [
            {
                "name": matrix.name,
                "shape": matrix.shape,
                "fused_set": matrix.fused_set,
                "bits": scheme.bits,
                "group_size": scheme.group_size,
                "bytes": planner.matrix_bytes(matrix, scheme),
                "predicted_loss": planner.matrix_loss(matrix, scheme),
            }
            for matrix in planner.draft.matrices
            for scheme in (schemes[matrix.name],)
        ],
        "frontier": planner.frontier,
    }


def page(planner: "Planner", made: "Plan") -> str:
    """The plan for people: matrix by matrix, then the frontier with the plan on it."""
    from fqconsole.cli.quantities import group, size
    from fqconsole.cli.table import table

    schemes = planner.schemes(made)
    rows = []
    for matrix in planner.draft.matrices:
        scheme = schemes[matrix.name]
        loss = planner.matrix_loss(matrix, scheme)
        rows.append(
            (
                matrix.name,
                str(scheme.bits),
                "" if scheme.bits == 16 else group(scheme.group_size),
                size(planner.matrix_bytes(matrix, scheme)),
                "—" if loss is None else f"{loss:.4%}",
            )
        )
    loss = planner.plan_loss(made)
    total = planner.plan_bytes(made)
    bits = total * 8 / max(1, planner.weights)
    head = ("matrix", "bits", "group", "size", "loss")
    return "\n".join(
        (
            table(head, rows, right="bits group size loss"),
            "",
            f"{made.model}: {made.target or f'the rule at {made.bits} bits'}",
            f"  weights         {bits:.3f} bits each, {size(total)}{_of_widths(made)}",
            f"  predicted loss  {'not known' if loss is None else f'{loss:.3%}'}"
            " (noise in what the matrices make, weighted by how much each matters; docs/method.md)",
            "",
            plot(planner, bits, loss),
        )
    )


def _of_widths(made: "Plan") -> str:
    """What a plan was kept to, where that is not everything."""
    from quantizer.scheme import WIDTHS, widths_word

    return "" if made.widths == WIDTHS else f", of the widths {widths_word(made.widths)}"


def plot(planner: "Planner", bits: float, loss: float | None) -> str:
    """The frontier as text: predicted loss, on a scale of powers, over bits per weight up to 9; the plan
    is `●`.
    """
    import math

    points = [p for p in planner.frontier if p.predicted_loss > 0 and p.bits_per_weight <= 9]
    marked = [(p.bits_per_weight, p.predicted_loss, "·") for p in points]
    if loss is not None and loss > 0 and bits <= 9:
        marked.append((bits, loss, "●"))
    if len(marked) < 2:
        return ""
    heights = [math.log10(value) for _, value, _ in marked]
    low, high = min(heights), max(heights)
    left, right = min(x for x, _, _ in marked), max(x for x, _, _ in marked)
    grid = [[" "] * PLOT_COLUMNS for _ in range(PLOT_ROWS)]
    for (x, _, mark), height in zip(marked, heights, strict=True):
        row = round((high - height) / max(high - low, 1e-9) * (PLOT_ROWS - 1))
        column = round((x - left) / max(right - left, 1e-9) * (PLOT_COLUMNS - 1))
        grid[row][column] = mark
    lines = []
    for index, cells in enumerate(grid):
        shown = 10 ** (high - (high - low) * index / (PLOT_ROWS - 1))
        label = f"{shown:.3%}" if index % 3 == 0 or index == PLOT_ROWS - 1 else ""
        lines.append(f"{label:>9} │{''.join(cells).rstrip()}")
    lines.append(f"{'':>9} └{'─' * PLOT_COLUMNS}")
    lines.append(f"{'':>10} {left:<.2f}{'bits per weight':^{PLOT_COLUMNS - 8}}{right:>.2f}")
    return "\n".join(["predicted loss", *lines])
