"""`fqconsole replay`: a recording of the console, played in true time."""

from pathlib import Path
from typing import Annotated

import typer


def replay(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="A recording: `fqconsole --events FILE`, or the events of one job. "
            "[default: one that ships with fqconsole]",
        ),
    ] = None,
    *,
    speed: Annotated[
        float, typer.Option(metavar="X", min=0.1, max=100.0, help="How many times as fast as it was.")
    ] = 1.0,
) -> None:
    """Play a recording in the console, with no GPU, no model and no worker; the first line says REPLAY.

    Nothing is written to the record of runs. All keys work, so a demonstration can stop and look around.
    """
    from fqconsole.app.opening import SHIPPED, run_replay

    raise typer.Exit(run_replay(file or SHIPPED, speed))
