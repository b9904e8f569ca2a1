"""Going on from a run: a session on the model it made or used, or its model's plan where that is gone."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fqconsole.app.services import Services
from fqconsole.app.session_choices import choice_of_run, with_prompt
from fqconsole.app.workspace import FitChoice, SessionChoice
from fqconsole.endpoints.address import is_address
from fqconsole.errors import OperatorError
from fqconsole.models.description import ModelDescription, ModelEntry
from quantizer.ladder import DEFAULT_THRESHOLD
from quantizer.scheme import WIDTHS


@dataclass(frozen=True)
class NextStep:
    """A session to open, or a model to plan with the choices of its run."""

    session: SessionChoice | None = None
    entry: ModelEntry | None = None
    description: ModelDescription | None = None
    choice: FitChoice | None = None


def next_step(services: Services, run: Any, present: FitChoice) -> NextStep:
    """What Enter does on a run. Reads files: not on the event loop. Raises OperatorError, ModelError."""
    row = run.row
    session = choice_of_run(run)
    made = row.kind == "quantize"
    usable = row.status == "done" or not made
    there = session is not None and (Path(session.path).is_dir() or is_address(session.path))
    if row.kind != "download" and session is not None and usable and there:
        return NextStep(session=with_prompt(services, session))
    entry = _source(services, run)
    about = services.describe(entry)
    if not made or row.bits is None:
        return NextStep(entry=entry, description=about)
    granularity = run.options.get("granularity", "adaptive")
    choice = replace(
        present,
        bits=row.bits,
        goal="rule",
        mode=run.options.get("mode", present.mode),
        head=run.options.get("head", 16),
        experts=run.options.get("experts", "model"),
        widths=tuple(run.options.get("widths", WIDTHS)),
    )
    if granularity == "planned":
        # Whatever the plan was made for, its size is what it came to.
        size = round(row.bits_per_weight or float(row.bits), 2)
        choice = replace(choice, goal="size", target_bits=size)
    else:
        choice = replace(
            choice,
            granularity=granularity,
            group_size=run.options.get("group_size", "default"),
            threshold=run.options.get("threshold", DEFAULT_THRESHOLD),
        )
    return NextStep(entry=entry, description=about, choice=choice)


def _source(services: Services, run: Any) -> ModelEntry:
    """The 16-bit model of a run."""
    row = run.row
    if row.model in services.summaries():
        return ModelEntry(row.model, "builtin", None)
    for path in (run.options.get("model_path"), run.options.get("reference_path"), row.path):
        if path and Path(path).is_dir():
            return ModelEntry(row.model, "folder", path, row.revision)
    raise OperatorError(
        f"The folder of {row.model} is no longer there.",
        "Press 1 and choose the model again, or download it.",
    )
