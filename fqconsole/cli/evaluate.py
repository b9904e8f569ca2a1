"""`fqconsole evaluate`: what quantizing lost, against the 16-bit model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli import completions
from fqconsole.cli.options import Checkpoint, Device, Events, Json, Quiet
from fqconsole.cli.output import Output
from fqconsole.errors import UsageError

if TYPE_CHECKING:
    from store import Store


def evaluate(
    checkpoint: Checkpoint,
    *,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            "-r",
            metavar="MODEL",
            autocompletion=completions.models,
            help="The 16-bit model to compare with. [default: the one that the checkpoint was made from]",
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A UTF-8 text to score. [default: the built-in held-out stories]"),
    ] = None,
    window: Annotated[int, typer.Option(metavar="TOKENS", min=2, help="Tokens scored at a time.")] = 512,
    max_tokens: Annotated[
        int, typer.Option(metavar="TOKENS", min=1, help="Score at most this much of the text.")
    ] = 32768,
    tasks: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Benchmarks of lm-evaluation-harness instead, on any model: piqa,copa; paper: FineQuant's.",
        ),
    ] = None,
    task_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of --tasks: a folder with more task files.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of --tasks: so many questions of each.")
    ] = None,
    fewshot: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Of --tasks: examples in each prompt. [default: the task's]"),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of --tasks: most sequences at a time.")
    ] = None,
    device: Device = "auto",
    json: Json = False,
    events: Events = False,
    quiet: Quiet = False,
) -> None:
    """Measure perplexity, KL divergence to the 16-bit model, and how often both choose the same token."""
    from fqconsole.cli.benchmark_tasks import scores_page, task_scores
    from fqconsole.cli.run_store import open_store

    output = Output(json=json, quiet=quiet, events=events)
    if tasks is not None and (reference is not None or text is not None):
        raise UsageError(
            "--tasks measures one model, without --reference and --text.",
            "Run the tasks on the 16-bit model too, and compare the two runs.",
        )
    if tasks is None and (task_path, limit, fewshot, batch) != (None, None, None, None):
        raise UsageError("--task-path, --limit, --fewshot and --batch belong to --tasks.", "Name tasks.")
    with open_store() as store:
        if tasks is not None:
            scores = task_scores(
                store,
                output,
                checkpoint,
                tasks=tasks,
                task_path=task_path,
                limit=limit,
                fewshot=fewshot,
                batch=batch,
                device=device,
            )
            if json:
                output.result(scores)
            elif not events:
                output.line(scores_page(scores))
            return
        document = evaluated(
            store,
            output,
            checkpoint,
            reference=reference,
            text=text,
            window=window,
            max_tokens=max_tokens,
            device=device,
        )
    if json:
        output.result(document)
    elif not events:
        output.line(page(document))


def evaluated(
    store: "Store",
    output: Output,
    checkpoint: str,
    *,
    reference: str | None,
    text: Path | None = None,
    window: int = 512,
    max_tokens: int = 32768,
    device: str = "auto",
) -> dict[str, Any]:
    """Run the job and return its document."""
    from fqconsole.cli.job_driver import JobDriver
    from fqconsole.cli.model_choice import chosen
    from fqconsole.jobs.messages import AnyEvent, EvaluationDone, to_builtins
    from fqconsole.jobs.runs import begin_evaluate
    from fqconsole.models import describe

    made = describe(chosen(checkpoint, store))
    if reference is None:
        reference = made.quantization.source_model if made.quantization else None
    if reference is None:
        raise UsageError(f"{checkpoint} does not say what it was made from.", "Give --reference MODEL.")
    compared = describe(chosen(reference, store))
    if text is not None and not text.is_file():
        raise UsageError(f"There is no text file {text}.", "Check --text.")
    request = begin_evaluate(
        store,
        checkpoint_path=str(made.path),
        reference_path=str(compared.path),
        text_path=text,
        window=window,
        max_tokens=max_tokens,
        device=device,
        model_id=compared.id,
    )
    measured: dict[str, Any] = {}

    def watch(event: AnyEvent) -> None:
        if isinstance(event, EvaluationDone):
            measured.update(to_builtins(event))

    output.say(f"{request.run_id}: {made.id} against {compared.id}")
    JobDriver(store, output).run(request, request.run_id, watch)
    names = ("perplexity", "reference_perplexity", "kl_divergence", "top1_agreement", "tokens", "seconds")
    return {
        "run_id": request.run_id,
        "checkpoint": made.path,
        "reference": compared.id,
        **{name: measured.get(name) for name in names},
    }


def page(document: dict[str, Any]) -> str:
    """The document as text."""
    from fqconsole.cli.quantities import duration, number

    perplexity, before = document["perplexity"], document["reference_perplexity"]
    change = perplexity / before - 1
    return "\n".join(
        [
            f"{document['run_id']}  {document['checkpoint']} against {document['reference']}",
            f"  perplexity       {number(perplexity, 5)}, 16-bit {number(before, 5)} ({change:+.2%})",
            f"  KL divergence    {number(document['kl_divergence'])} nats",
            f"  same top token   {document['top1_agreement']:.2%}",
            f"  scored           {document['tokens']} tokens in {duration(document['seconds'])}",
        ]
    )
