"""`fqconsole verify`: whether a checkpoint is still what it was, and what its source gives."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli.options import Checkpoint, Device, Events, Json, Quiet
from fqconsole.cli.output import Output
from fqconsole.errors import OperatorError, UsageError

if TYPE_CHECKING:
    from quantizer.verdict import Verification

FAULTY_EXIT = 1
SHOWN_FAULTS = 20


def verify(
    checkpoint: Checkpoint,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Make every matrix again from the source, not a sample.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where the 16-bit model lies. [default: where it was quantized from]"
        ),
    ] = None,
    device: Device = "auto",
    json: Json = False,
    events: Events = False,
    quiet: Quiet = False,
) -> None:
    """Check every checksum of a checkpoint, and make some of its matrices again from the 16-bit model."""
    from fqconsole.cli.run_store import open_store

    output = Output(json=json, quiet=quiet, events=events)
    with open_store() as store:
        found = verified(store, output, checkpoint, every=every, source=source, device=device)
    if json:
        output.result(found)
    elif not events:
        output.line(page(found))
    if not found.sound:
        raise typer.Exit(FAULTY_EXIT)


def verified(
    store: Any, output: Output, word: str, *, every: bool, source: Path | None, device: str
) -> "Verification":
    """Run the job and return what it found."""
    from fqconsole.cli.job_driver import JobDriver
    from fqconsole.cli.model_choice import chosen
    from fqconsole.jobs.messages import AnyEvent, StartVerify, VerificationDone
    from fqconsole.jobs.runs import place

    folder = chosen(word, store).path
    if folder is None:
        raise UsageError(f"{word} is not on this machine.", "Name a checkpoint that fqconsole wrote.")
    found: list[Verification] = []

    def watch(event: AnyEvent) -> None:
        if isinstance(event, VerificationDone):
            found.append(event.verification)

    request = StartVerify(
        checkpoint_path=place(folder),
        source_path=None if source is None else place(source),
        every=every,
        device=device,
    )
    JobDriver(store, output).run(request, "", watch)
    if not found:
        raise OperatorError("The verification ended without a result.", "Run it again.")
    return found[0]


def page(found: "Verification") -> str:
    """The finding as text."""
    from fqconsole.cli.quantities import duration, size

    told = {
        "unchanged": str(found.source_path),
        "changed": f"{found.source_path} changed since",
        "absent": f"not at {found.source_path}: nothing could be made again",
    }
    lines = [
        f"{found.checkpoint} {'is sound' if found.sound else 'is not sound'}",
        f"  checksums  {found.files} files, {size(found.bytes)}",
        f"  source     {told[found.source]}",
        f"  made again {len(found.remade)} matrices and kept tensors, of {found.matrices} matrices",
        f"  time       {duration(found.seconds)}",
    ]
    lines += [f"  ✗ {fault.name} {fault.what}" for fault in found.faults[:SHOWN_FAULTS]]
    if len(found.faults) > SHOWN_FAULTS:
        lines.append(f"  ✗ and {len(found.faults) - SHOWN_FAULTS} more: --json tells them all")
    return "\n".join(lines)
