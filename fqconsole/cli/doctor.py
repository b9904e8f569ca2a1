"""`fqconsole doctor`: what this machine has, what it lacks, and what to type."""

from typing import Annotated

import typer

from fqconsole.cli.options import Json
from fqconsole.cli.output import Output

MARKS = {"ok": "✓", "note": "!", "problem": "✗", "optional": "·"}


def doctor(
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also start torch in a process of its own and compute once on each GPU."),
    ] = False,
    json: Json = False,
) -> None:
    """Check this installation: versions, GPU, driver, extras, disk, caches, terminal.

    Exit code 1 when something needed is missing."""
    from fqconsole.cli import checkup, checkup_gpu

    output = Output(json=json)
    findings = [
        *checkup.software(),
        *checkup.extras(),
        *checkup_gpu.gpus(),
        *(checkup_gpu.torch_itself() if deep else []),
        *checkup.machine(),
    ]
    if json:
        output.result({"checks": findings})
    else:
        for finding in findings:
            output.line(f"{MARKS[finding.status]} {finding.name:16} {finding.found}")
            if finding.next_step:
                output.line(f"{'':19}{finding.next_step}")
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)
