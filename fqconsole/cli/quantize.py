"""`fqconsole quantize`: a 16-bit model in, a quantized checkpoint out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli import completions
from fqconsole.cli.options import (
    Batch,
    Context,
    Device,
    Events,
    Experts,
    Fit,
    Force,
    Gpus,
    GroupSize,
    Head,
    Json,
    MaxLoss,
    Mode,
    PlanFile,
    Quiet,
    TargetBits,
    Widths,
)
from fqconsole.cli.output import Output
from fqconsole.errors import UsageError

if TYPE_CHECKING:
    from fqconsole.cli.planning import Wish
    from fqconsole.jobs.messages import AnyEvent, StartQuantize
    from fqconsole.models.description import ModelDescription
    from quantizer.plan import Plan
    from store import Store


def quantize(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=completions.models,
            help="A built-in model (demo), a folder with config.json, or a model id of the Hugging Face hub. "
            "Not needed with --resume.",
        ),
    ] = "",
    *,
    bits: Annotated[
        int | None, typer.Option(metavar="BITS", help="Width of a stored weight: 8, 4 or 3. [default: 4]")
    ] = None,
    target_bits: TargetBits = None,
    fit: Fit = None,
    max_loss: MaxLoss = None,
    widths: Widths = None,
    plan_file: PlanFile = None,
    gpus: Gpus = 1,
    context: Context = None,
    batch: Batch = 1,
    granularity: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="adaptive: finer groups where outliers make them pay; fixed: one group size for all; "
            "matrix: adaptive without the sets that engines fuse, for study. "
            "[default: adaptive; fixed with --group-size]",
        ),
    ] = None,
    group_size: GroupSize = None,
    threshold: Annotated[
        float,
        typer.Option(
            metavar="R",
            min=0.0,
            max=1.0,
            help="Adaptive: halve groups while that lowers the noise to under this share.",
        ),
    ] = 0.7,
    mode: Mode = "best",
    experts: Experts = "model",
    head: Head = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="A new folder for the checkpoint. [default: one in the checkpoints folder]",
        ),
    ] = None,
    device: Device = "auto",
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            autocompletion=completions.runs,
            help="Go on with an unfinished run (r0012, or the folder it was writing), with its own options.",
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
    events: Events = False,
    quiet: Quiet = False,
) -> None:
    """Quantize a model's weights: no data is needed, and memory stays bounded whatever the model's size.

    Say what you want by one of --bits (FineQuant's rule), --target-bits, --fit, --max-loss and --plan.
    """
    from fqconsole.cli.planning import Wish
    from fqconsole.cli.run_store import open_store

    output = Output(json=json, quiet=quiet, events=events)
    wish = Wish(target_bits, fit, max_loss, plan_file, gpus, context, batch, widths)
    wish.check(bits=bits, granularity=granularity, group_size=group_size)
    with open_store() as store:
        if resume is not None:
            from fqconsole.cli.resuming import resumed

            model, out, choice = resumed(store, output, resume, model)
        elif not model:
            raise UsageError("MODEL is missing.", "Name a model, or an unfinished run with --resume.")
        elif wish.named:
            choice = planned_options(
                store, output, model, wish, mode=mode, experts=experts, head=head, device=device
            )
        else:
            choice = chosen_options(
                bits or usual_bits(), granularity, group_size, threshold, mode, experts=experts, head=head
            )
        document = quantized(store, output, model, out=out, device=device, force=force, **choice)
    if json:
        output.result(document)
    elif not events:
        output.line(page(document))
        output.say(f'next: fqconsole generate {document["run_id"]} --prompt "..."')


def usual_bits() -> int:
    """Bits where none are asked for: the setting `quantize.bits`."""
    from fqconsole.settings import load

    return load().quantize.bits


def chosen_options(
    bits: int,
    granularity: str | None,
    group_size: str | None,
    threshold: float,
    mode: str = "best",
    *,
    experts: str = "model",
    head: int | None = None,
) -> dict[str, Any]:
    """The request's options of what was typed. Raises UsageError for what does not exist."""
    from fqconsole.cli.number_lists import group_size_of
    from quantizer.base import requested_group, require_expert_sets, require_head_bits
    from quantizer.methods import methods_of, mode_word

    kind: Any = granularity or ("adaptive" if group_size is None else "fixed")
    group: Any = "default" if group_size is None else group_size_of(group_size)
    requested_group(bits, kind, group)
    require_expert_sets(experts)
    require_head_bits(head or 16)
    word = mode_word(methods_of(mode))
    return {
        "bits": bits,
        "granularity": kind,
        "group_size": group,
        "threshold": threshold,
        "mode": word,
        "experts": experts,
        "head": head or 16,
    }


def planned_options(
    store: "Store",
    output: Output,
    model: str,
    wish: "Wish",
    *,
    mode: str,
    experts: str,
    head: int | None,
    device: str,
) -> dict[str, Any]:
    """The request's options of a wish: the plan is made now, and the run follows it."""
    from fqconsole.cli.planning import experts_of, head_of, measured, mode_of, widths_of, wished
    from quantizer.measured import save_plan
    from quantizer.methods import methods_of, mode_word

    sets = experts_of(wish, experts)
    description = source_model(model)
    word = mode_word(methods_of(mode_of(wish, mode)))
    bits = head_of(wish, head)
    planner, _ = measured(
        store, output, description, mode=word, experts=sets, head=bits, widths=widths_of(wish), device=device
    )
    made = wished(planner, description, wish)
    require_matrices_left(made)
    return options_of_plan(made, str(save_plan(made)))


def options_of_plan(plan: "Plan", path: str) -> dict[str, Any]:
    """The request's options of a plan that lies in `path`."""
    from quantizer.methods import mode_word

    return {
        "bits": plan.bits,
        "granularity": plan.granularity,
        "group_size": "default",
        "threshold": plan.threshold,
        "mode": mode_word(plan.methods),
        "experts": plan.experts,
        "head": plan.head,
        "widths": plan.widths,
        "plan_path": path,
    }


def require_matrices_left(plan: "Plan") -> None:
    """Raises UsageError for a plan that leaves every matrix as it is."""
    if not plan.matrices:
        raise UsageError(
            f"{plan.model} can stay in 16 bits: {plan.target}.",
            f"Use it as it is: fqconsole generate {plan.model}.",
        )


def quantized(
    store: "Store",
    output: Output,
    model: str,
    *,
    out: Path | None,
    bits: int,
    granularity: Any,
    group_size: Any,
    threshold: float,
    mode: str,
    device: str,
    force: bool,
    head: int = 16,
    **others: Any,
) -> dict[str, Any]:
    """Run the job and return its document; `others` as `begin_quantize` has them. What can be known before
    raises before a worker starts.
    """
    from fqconsole.cli.ending import EndedBySignal
    from fqconsole.cli.job_driver import JobDriver
    from fqconsole.cli.memory_check import predicted_gpu, room_to_quantize
    from fqconsole.jobs.runs import begin_quantize, suggest_checkpoint_path

    description = source_model(model)
    target = out or suggest_checkpoint_path(description.id, bits, granularity, group_size, head)
    require_new_folder(target)
    peak = room_to_quantize(description, bits, device, output, force=force)
    request = begin_quantize(
        store,
        model_id=description.id,
        model_path=str(description.path),
        out=target,
        bits=bits,
        granularity=granularity,
        group_size=group_size,
        threshold=threshold,
        mode=mode,
        device=device,
        head=head,
        revision=description.revision,
        predicted={"total": peak},
        predicted_gpu=predicted_gpu(device),
        **others,
    )
    gathered = _Gathered()
    output.say(f"{request.run_id}: {description.id} → int{bits} in {request.out}")
    try:
        JobDriver(store, output).run(request, request.run_id, gathered.take)
    except EndedBySignal:
        _tell_how_to_go_on(output, request)
        raise
    return gathered.document(request)


def _tell_how_to_go_on(output: Output, request: "StartQuantize") -> None:
    from quantizer.checkpoint import find_unfinished

    if find_unfinished(Path(request.out)) is not None:
        word = request.run_id or request.out
        output.say(f"what is finished is kept; go on with: fqconsole quantize --resume {word}")


def source_model(word: str) -> "ModelDescription":
    """A 16-bit model on this machine. Raises UsageError for one that is quantized already."""
    from fqconsole.cli.model_choice import chosen
    from fqconsole.models import describe

    description = describe(chosen(word))
    if description.quantization is not None:
        source = description.quantization.source_model
        raise UsageError(
            f"{word} is quantized already.",
            f"Quantize its source, {source}." if source else "Name a 16-bit model.",
        )
    return description


def require_new_folder(out: Path) -> None:
    """Raises UsageError before a worker starts when `out` is taken or can't be made."""
    import os

    out = out.expanduser().absolute()
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise UsageError(f"{out} exists already.", "Choose another folder with --out, or delete it.")
    above = out.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise UsageError(f"{above} is no folder.", "Choose another folder with --out.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(
            f"{above} can't be written.", "Change its permissions, or choose another folder with --out."
        )


class _Gathered:
    """What the job told, for the document."""

    def __init__(self) -> None:
        self._matrices: list[dict[str, Any]] = []
        self._written: dict[str, Any] = {}

    def take(self, event: "AnyEvent") -> None:
        from fqconsole.jobs.messages import CheckpointWritten, MatrixDone, to_builtins

        if isinstance(event, MatrixDone):
            names = ("name", "shape", "bits", "group_size", "statistic", "relative_error", "bytes", "reason")
            self._matrices.append({name: getattr(event, name) for name in names})
        elif isinstance(event, CheckpointWritten):
            self._written = to_builtins(event)

    def document(self, request: "StartQuantize") -> dict[str, Any]:
        names = ("checkpoint", "bits_per_weight", "model_bits_per_weight", "bytes", "source_bytes", "seconds")
        return {
            "run_id": request.run_id,
            "model": request.model_id,
            "bits": request.bits,
            "granularity": request.granularity,
            **{name: self._written.get(name) for name in names},
            "matrices": self._matrices,
        }


def page(document: dict[str, Any]) -> str:
    """The document as text."""
    from collections import Counter

    from fqconsole.cli.quantities import duration, group, precision, size

    matrices = document["matrices"]
    groups = Counter(group(matrix["group_size"]) for matrix in matrices)
    widths = Counter(matrix["bits"] for matrix in matrices)
    if len(widths) > 1:
        groups = Counter(f"{m['bits']}/{group(m['group_size'])}" for m in matrices)
    lines = [
        f"{document['run_id']}  {document['model']} → {precision(document['bits'])} "
        f"{document['granularity']}",
        f"  checkpoint  {document['checkpoint']}",
        f"  weights     {document['bits_per_weight']:.3f} bits each, {document['model_bits_per_weight']:.3f} "
        "with what is kept in 16 bits",
        f"  size        {size(document['bytes'])} of {size(document['source_bytes'])}, "
        f"{document['bytes'] / max(1, document['source_bytes']):.0%}",
        f"  groups      {', '.join(f'{name} ×{count}' for name, count in groups.most_common())}",
        f"  time        {duration(document['seconds'])}",
    ]
    if matrices:
        worst = max(matrices, key=lambda matrix: matrix["relative_error"])
        lines.append(f"  worst       {worst['name']}, relative error {worst['relative_error']:.4f}")
    return "\n".join(lines)
