"""`fqconsole runs`: every run ever made, to list, show, compare, export and annotate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fqconsole.cli import completions
from fqconsole.cli.options import Json
from fqconsole.cli.output import Output
from fqconsole.errors import OperatorError, UsageError
from fqconsole.private_files import write_private

if TYPE_CHECKING:
    from store import RunRow

MOST_EXPORTED = 1000  # runs that a filter brings into one file

application = typer.Typer(rich_markup_mode=None, help="List, show, compare and export runs.")

RunId = Annotated[
    str, typer.Argument(metavar="RUN", autocompletion=completions.runs, help="A run, such as r0012.")
]
RunIds = Annotated[
    list[str],
    typer.Argument(metavar="RUN", autocompletion=completions.runs, help="Runs, such as r0012 r0015."),
]
SomeRuns = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", autocompletion=completions.runs, help="Runs, such as r0012 r0015."),
]
Filter = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILTER",
        help="Terms that must all hold: bits<=4, model:qwen, kind:generate, status:done, tag:demo, or words "
        "to look for in prompts, answers and notes. Quote a term with < or >.",
    ),
]
Limit = Annotated[int, typer.Option(metavar="N", min=1, help="Show at most this many.")]
Sort = Annotated[
    str,
    typer.Option(metavar="COLUMN", help='Sort by this column, with asc or desc after it: "perplexity asc".'),
]


@application.callback(invoke_without_command=True)
def runs(context: typer.Context, json: Json = False) -> None:
    """List the latest runs. `runs list` takes filters, `runs show RUN` tells all of one."""
    if context.invoked_subcommand is None:
        list_(json=json)


@application.command("list")
def list_(
    filter: Filter = None, *, limit: Limit = 50, sort: Sort = "started desc", json: Json = False
) -> None:
    """List runs, the latest first."""
    from fqconsole.cli.run_store import open_store

    output = Output(json=json)
    terms = " ".join(filter or ())
    with open_store() as store:
        rows = store.list_runs(terms, limit=limit, sort=sort)
    if json:
        output.result({"runs": rows})
    elif rows:
        output.line(_listed(rows))
    else:
        output.say("No run matches." if terms else "No runs yet. Type: fqconsole quantize demo")


def _listed(rows: "list[RunRow]") -> str:
    from datetime import datetime

    from fqconsole.cli.quantities import UNKNOWN, number, precision, size, speed
    from fqconsole.cli.table import table

    head = ["run", "when", "kind", "status", "model", "bits", "group", "ppl", "tok/s", "peak", "note"]
    return table(
        head,
        [
            [
                ("* " if row.baseline else "  ") + row.run_id,
                datetime.fromtimestamp(row.started).astimezone().strftime("%m-%d %H:%M"),
                row.kind,
                row.status,
                row.model,
                precision(row.bits) if row.bits else UNKNOWN,
                row.group or UNKNOWN,
                number(row.perplexity),
                speed(row.decode_tok_s),
                size(row.peak_bytes),
                row.note,
            ]
            for row in rows
        ],
        right="ppl tok/s peak",
    )


@application.command("show")
def show(run: RunId, json: Json = False) -> None:
    """Show everything of one run: plan, numbers, matrices, prompt and answer, memory."""
    from fqconsole.cli.run_page import run_page
    from fqconsole.cli.run_store import open_store

    output = Output(json=json)
    with open_store() as store:
        found = store.run(run)
    if json:
        output.result({"run_id": found.row.run_id, "run": found})
    else:
        output.line(run_page(found))


@application.command("compare")
def compare(
    run: RunIds,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            autocompletion=completions.runs,
            help="Compare with this run; else the one marked as baseline, else the first.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show lines that are equal too.")] = False,
    json: Json = False,
) -> None:
    """Show what differs between runs, and whether it is better, worse or within noise."""
    from fqconsole.cli.run_store import open_store
    from store.export import to_text

    output = Output(json=json)
    with open_store() as store:
        comparison = store.compare(run, baseline=baseline, everything=everything)
    if json:
        output.result(comparison)
    else:
        output.line(to_text(comparison))


@application.command("export")
def export(
    run: SomeRuns = None,
    *,
    where: Annotated[
        str,
        typer.Option(metavar="FILTER", help='Also every run that matches: "tag:demo bits<=4", as for list.'),
    ] = "",
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="json, csv, markdown or html (one self-contained page)."
        ),
    ] = "markdown",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write to this new file in place of stdout."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file where it exists.")] = False,
) -> None:
    """Write runs out for a colleague, a spreadsheet or a page."""
    from fqconsole.cli.run_store import open_store
    from store import export as exports

    writers = {
        "json": exports.to_json,
        "csv": exports.to_csv,
        "markdown": exports.to_markdown,
        "html": exports.to_html,
    }
    if form not in writers:
        raise UsageError(f"There is no format {form!r}.", f"Give --format {', '.join(writers)}.")
    if out is not None and (out.is_symlink() or out.exists()) and not force:
        raise UsageError(f"{out} exists already.", "Name another file, or give --force.")
    with open_store() as store:
        matching = [row.run_id for row in store.list_runs(where, limit=MOST_EXPORTED)] if where else []
        chosen = list(dict.fromkeys([*(run or ()), *matching]))
        if not chosen:
            what = "No run matches." if where else "There is nothing to export."
            raise UsageError(what, 'Name runs, such as r0012, or give --where "tag:demo".')
        text = writers[form](store, chosen)
    if out is None:
        Output().stream(text if text.endswith("\n") else text + "\n")
    else:
        try:
            write_private(out, text)
        except OSError as error:
            raise OperatorError(f"{out} can't be written: {error.strerror}.", "Name another file.") from None
        Output().say(f"wrote {out}")


@application.command("note")
def note(
    run: RunId,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The note; an empty one removes it.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Set the run's tags; give it again for more.")
    ] = None,
    baseline: Annotated[
        bool | None, typer.Option("--baseline/--no-baseline", help="Mark as what others are compared with.")
    ] = None,
) -> None:
    """Write a note on a run, set its tags, or mark it as the baseline."""
    from fqconsole.cli.run_store import open_store

    if text is None and tag is None and baseline is None:
        raise UsageError("There is nothing to write.", "Give a text, --tag or --baseline.")
    with open_store() as store:
        if text is not None:
            store.set_note(run, text)
        if tag is not None:
            store.set_tags(run, tag)
        if baseline is not None:
            store.set_baseline(run, baseline)
    Output().say(f"{run} is annotated.")


@application.command("delete")
def delete(
    run: RunIds,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete runs from the list. The checkpoints that they wrote stay on disk."""
    from fqconsole.cli.run_store import open_store

    output = Output()
    with open_store() as store:
        rows = [store.run(one).row for one in run]
        if not yes:
            named = ", ".join(f"{row.run_id} ({row.kind} of {row.model})" for row in rows)
            _ask(f"Delete {named}?")
        for row in rows:
            store.delete_run(row.run_id)
            output.say(
                f"{row.run_id} is deleted." + (f" Its checkpoint stays in {row.path}." if row.path else "")
            )


@application.command("prune")
def prune(
    *,
    keep_samples: Annotated[
        str,
        typer.Option(metavar="AGE", help="Keep GPU readings of runs younger than this, such as 30d; or all."),
    ] = "30d",
    keep_texts: Annotated[
        str,
        typer.Option(metavar="AGE", help="Keep prompts and answers of runs younger than this; or all."),
    ] = "all",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Make the runs file smaller: GPU readings and texts of old runs go, their numbers stay.

    Runs with a note, a tag or the baseline mark keep everything.
    """
    from fqconsole.cli.quantities import size
    from fqconsole.cli.run_store import open_store

    output = Output(json=json)
    ages = tuple(None if age == "all" else age for age in (keep_samples, keep_texts))
    with open_store() as store:
        found = store.prune(*ages, dry=True)
        if (found.samples or found.texts) and not dry_run:
            if not yes:
                _ask(f"Delete {found.samples:,} GPU readings and the texts of {found.texts:,} runs?")
            found = store.prune(*ages)
    if json:
        output.result(found)
        return
    words = "would go" if dry_run else "are gone"
    output.line(f"{found.samples:,} GPU readings and the texts of {found.texts:,} runs {words}")
    output.line(f"runs file: {size(found.bytes_before)} before, {size(found.bytes_after)} now")


def _ask(question: str) -> None:
    """Go on only after a yes."""
    import sys

    if not sys.stdin.isatty():
        raise UsageError("Deleting asks, and stdin is no terminal.", "Give --yes.")
    typer.confirm(question, abort=True, err=True)


@application.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
) -> None:
    """Copy the runs file whole, also while a job records into it."""
    from fqconsole.cli.run_store import open_store

    with open_store() as store:
        store.backup(file)
    Output().say(f"wrote {file}")


@application.command("path")
def path(run: RunId) -> None:
    """Print the folder of the checkpoint that a run wrote or used, or the address of a served model."""
    from fqconsole.cli.run_store import open_store

    with open_store() as store:
        row = store.run(run).row
    if not row.path:
        raise UsageError(f"Run {run} has no checkpoint.", "Name a quantize, evaluate or generate run.")
    Output().line(row.path)
