"""`fqconsole export`: a checkpoint in another program's format."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fqconsole.cli.options import Checkpoint, Events, Json, Quiet
from fqconsole.cli.output import Output
from fqconsole.errors import OperatorError, UsageError

if TYPE_CHECKING:
    from fqconsole.jobs.messages import ExportDone
    from store import Store

ENDINGS = {"gguf": ".gguf"}  # what a single file is called; folders get the format's name


def export(
    checkpoint: Checkpoint,
    *,
    to: Annotated[str, typer.Option(metavar="FORMAT", help="gguf, gptq or 16bit.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="PLACE", help="The new file or folder. [default: beside the checkpoint]"
        ),
    ] = None,
    inexact: Annotated[
        bool, typer.Option("--inexact", help="Write it also where the format can't hold every value exactly.")
    ] = False,
    json: Json = False,
    events: Events = False,
    quiet: Quiet = False,
) -> None:
    """Write a checkpoint for llama.cpp (gguf), in the GPTQ layout, or as the 16-bit model it stands for."""
    from fqconsole.cli.run_store import open_store
    from fqconsole.jobs.messages import to_builtins

    output = Output(json=json, quiet=quiet, events=events)
    with open_store() as store:
        done = _exported(store, output, checkpoint, to=to, out=out, inexact=inexact)
    if json:
        document = to_builtins(done)
        output.result({name: document[name] for name in ("path", "to", "bytes", "exact", "notes", "seconds")})
    elif not events:
        output.line(_page(done))


def _exported(
    store: "Store", output: Output, word: str, *, to: str, out: Path | None, inexact: bool
) -> "ExportDone":
    from fqconsole.cli.job_driver import JobDriver
    from fqconsole.cli.model_choice import chosen
    from fqconsole.jobs.messages import AnyEvent, ExportDone, StartExport
    from fqconsole.jobs.runs import place
    from quantizer.export import FORMATS

    if to not in FORMATS:
        raise UsageError(f"There is no format {to}.", f"Choose {', '.join(FORMATS)}.")
    folder = chosen(word, store).path
    if folder is None:
        raise UsageError(f"{word} is not on this machine.", "Name a checkpoint that fqconsole wrote.")
    source = Path(place(folder))
    default = source.with_name(source.name + ENDINGS.get(to, f"-{to}"))
    found: list[ExportDone] = []

    def watch(event: AnyEvent) -> None:
        if isinstance(event, ExportDone):
            found.append(event)

    request = StartExport(
        checkpoint_path=str(source), out=place(default if out is None else out), to=to, inexact=inexact
    )
    JobDriver(store, output).run(request, "", watch)
    if not found:
        raise OperatorError("The export ended without a result.", "Run it again.")
    return found[0]


def _page(done: "ExportDone") -> str:
    from fqconsole.cli.quantities import duration, size

    head = f"{done.path}  {size(done.bytes)} in {duration(done.seconds)}"
    return "\n".join(
        [head, "  exact" if done.exact else "  not exact", *(f"  {note}" for note in done.notes)]
    )
