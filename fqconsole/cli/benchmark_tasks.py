"""`fqconsole evaluate --tasks`: benchmarks of lm-evaluation-harness on one model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fqconsole.cli.output import Output
from fqconsole.errors import OperatorError, UsageError

if TYPE_CHECKING:
    from store import Store


def task_scores(
    store: "Store",
    output: Output,
    word: str,
    *,
    tasks: str,
    task_path: Path | None,
    limit: int | None,
    fewshot: int | None,
    batch: int | None,
    device: str,
) -> dict[str, Any]:
    """Run the job and return its document; `tasks` are names with commas between them."""
    from fqconsole.cli.job_driver import JobDriver
    from fqconsole.cli.model_choice import chosen
    from fqconsole.evaluation.task_names import harness_names
    from fqconsole.jobs.messages import AnyEvent, TasksDone, to_builtins
    from fqconsole.jobs.runs import begin_tasks
    from fqconsole.models import describe

    names = harness_names([name.strip() for name in tasks.split(",") if name.strip()])
    if task_path is not None and not task_path.is_dir():
        raise UsageError(f"There is no folder {task_path}.", "Check --task-path.")
    about = describe(chosen(word, store))
    request = begin_tasks(
        store,
        checkpoint_path=str(about.path),
        tasks=names,
        task_path=task_path,
        limit=limit,
        fewshot=fewshot,
        batch=batch,
        device=device,
        model_id=about.id,
    )
    found: list[TasksDone] = []

    def watch(event: AnyEvent) -> None:
        if isinstance(event, TasksDone):
            found.append(event)

    output.say(f"{request.run_id}: {', '.join(names)} on {about.id}")
    JobDriver(store, output).run(request, request.run_id, watch)
    if not found:
        raise OperatorError("The tasks ended without a result.", "Run them again.")
    document = to_builtins(found[0])
    return {
        "run_id": request.run_id,
        "checkpoint": about.path,
        **{name: document[name] for name in ("scores", "seconds", "versions")},
    }


def scores_page(document: dict[str, Any]) -> str:
    """The document as text."""
    from fqconsole.cli.quantities import duration
    from fqconsole.cli.table import table

    rows = [
        [
            score["task"],
            score["metric"],
            _value(score),
            "" if score["standard_error"] is None else f"± {score['standard_error']:.4f}",
            str(score["questions"]),
        ]
        for score in document["scores"]
    ]
    signatures = dict.fromkeys(
        f"{score['metric']}: {score['signature']}" for score in document["scores"] if score["signature"]
    )
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return "\n".join(
        [
            f"{document['run_id']}  {document['checkpoint']}",
            table(["task", "metric", "value", "error", "questions"], rows, right="value error questions"),
            *signatures,
            f"{versions}; {duration(document['seconds'])}",
        ]
    )


def _value(score: dict[str, Any]) -> str:
    """Shares with four decimals, as papers print them; BLEU and perplexity with two."""
    return f"{score['value']:.4f}" if 0 <= score["value"] <= 1 else f"{score['value']:.2f}"
