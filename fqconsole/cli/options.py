"""Options that several commands share, each defined once."""

from pathlib import Path
from typing import Annotated

import typer

from fqconsole.cli import completions

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
        autocompletion=completions.models,
        help="A built-in model (demo), a folder with config.json, or a model id of the Hugging Face hub.",
    ),
]
Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        autocompletion=completions.checkpoints,
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
Mode = Annotated[
    str,
    typer.Option(
        metavar="MODE",
        help="best: searched scales and balanced channels; fast: one pass, for a try; finequant: the "
        "paper's plain rounding. Or single methods: search+importance (docs/method.md).",
    ),
]
Experts = Annotated[
    str,
    typer.Option(
        metavar="SETS",
        help="Which routed experts share bits and groups: model, those of all layers, as transformers alone "
        "reads them; layer, those of each layer, as vLLM and SGLang do.",
    ),
]
Head = Annotated[
    int | None,
    typer.Option(
        metavar="BITS",
        help="Bits of the output head: 16, 8 or 4. A head that is tied to the embedding is packed beside it. "
        "[default: 16]",
    ),
]
TargetBits = Annotated[
    float | None,
    typer.Option(
        metavar="BITS",
        help="Bits per weight on the whole, 3.6 say: bits and groups are shared out at least loss.",
    ),
]
Fit = Annotated[
    str | None,
    typer.Option(
        metavar="GPU",
        help="The least loss that fits: h100-80gb, say, or here; with --gpus, --context and --batch.",
    ),
]
MaxLoss = Annotated[
    str | None,
    typer.Option(metavar="SHARE", help="The smallest whose predicted loss stays within this: 1%, say."),
]
Widths = Annotated[
    str | None,
    typer.Option(
        metavar="BITS",
        help="Of a goal: the widths to share out, 16 for what stays as it is. Engines run 4,8,16. "
        "[default: 3,4,8,16]",
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", metavar="FILE", help="The schemes of a plan file (fqconsole plan --save)."),
]
Gpus = Annotated[int, typer.Option(metavar="N", min=1, help="Of --fit: how many of them.")]
SharingGpus = Annotated[
    int,
    typer.Option(
        "--gpus",
        metavar="N",
        min=1,
        help="GPUs that share the model, from --device on; of the CPU: processes.",
    ),
]
Split = Annotated[
    str,
    typer.Option(
        metavar="auto|tensor|layer",
        help="With --gpus: a part of every matrix on each, or some of the layers; auto: as shapes allow.",
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        min=1,
        help="Of --fit: tokens of prompt and answer. [default: 8192, or the model's own limit]",
    ),
]
Batch = Annotated[int, typer.Option(metavar="N", min=1, help="Of --fit: sequences at a time.")]
