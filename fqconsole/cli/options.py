"""Options that several commands share, each defined once."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")]
Events = Annotated[
    bool, typer.Option("--events", help="Stream the worker's events as JSON lines on stdout instead of text.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No narration on stderr; errors are still told.")]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="Where to compute: auto (a GPU where there is one, else the CPU), cpu, cuda, cuda:1.",
    ),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A built-in model (demo), a folder with config.json, or a model id of the Hugging Face hub.",
    ),
]
Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A quantized model's folder or name, the run that made it (r0012), or any model.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Go on where the memory preview says that it does not fit.")
]
GroupSize = Annotated[
    str | None,
    typer.Option(
        metavar="GROUP",
        help="Weights that share a scale: channel, 256, 128, 64, 32 or 16. "
        "[default: channel for 8 bits, 64 for 4 and 3]",
    ),
]
