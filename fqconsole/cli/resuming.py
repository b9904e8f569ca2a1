"""Which unfinished run `--resume` means: its model, its folder and the options it was begun with."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fqconsole.cli.model_choice import RUN_ID
from fqconsole.cli.output import Output
from fqconsole.errors import UsageError
from quantizer.methods import DEFAULT_MODE, mode_word

if TYPE_CHECKING:
    from store import Store

OPTIONS = ("bits", "granularity", "group_size", "threshold", "mode", "experts", "head", "widths")
PLAN = "plan_path"


def resumed(store: "Store", output: Output, word: str, model: str) -> tuple[str, Path, dict[str, Any]]:
    """(model, folder, options) of the run `word`, a run id or the folder that was being written.

    `model` is what was typed as MODEL, empty where nothing was. What a run finished stands in its folder's
    journal; one that finished nothing begins anew. Raises UsageError when there is nothing to go on with.
    """
    if RUN_ID.fullmatch(word) and not Path(word).exists():
        return _of_run(store, output, word)
    return _of_folder(Path(word), model)


def _of_run(store: "Store", output: Output, run_id: str) -> tuple[str, Path, dict[str, Any]]:
    from quantizer.checkpoint import find_unfinished

    run = store.run(run_id)
    if run.row.kind != "quantize":
        raise UsageError(f"{run_id} is a {run.row.kind} run.", "Name a quantize run that did not end.")
    if run.row.status == "done":
        raise UsageError(f"{run_id} is done: {run.row.path}.", "Leave --resume out to quantize again.")
    out = Path(run.options["out"])
    unfinished = find_unfinished(out)
    if unfinished is None:
        output.say(f"{run_id} finished no file; it begins anew with the same options")
    elif unfinished.in_use:
        raise UsageError(f"{run_id} is still running.", f"Wait for it: fqconsole runs show {run_id}.")
    return (
        _source_of(run.row.model, run.options["model_path"]),
        out,
        {"mode": DEFAULT_MODE}
        | {name: run.options[name] for name in (*OPTIONS, PLAN) if name in run.options},
    )


def _source_of(model: str, path: str) -> str:
    """The run's word for its model where that still means the same folder, else the folder."""
    from fqconsole.cli.model_choice import chosen
    from fqconsole.jobs.runs import place

    try:
        found = chosen(model).path
    except UsageError:
        return path
    return model if found is not None and place(found) == path else path


def _of_folder(out: Path, model: str) -> tuple[str, Path, dict[str, Any]]:
    from quantizer.checkpoint import find_unfinished

    unfinished = find_unfinished(out)
    if unfinished is None:
        raise UsageError(f"No unfinished run is left of {out}.", "Name its run, or quantize it anew.")
    plan = unfinished.plan
    if plan.granularity == "planned":
        from fqconsole.cli.quantize import options_of_plan
        from quantizer.measured import save_plan

        return model or plan.model, out, options_of_plan(plan, str(save_plan(plan)))
    options = {name: getattr(plan, name) for name in OPTIONS if name != "mode"}
    return model or plan.model, out, options | {"mode": mode_word(plan.methods)}
