"""`fqconsole fit`: does it fit, before anything runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli import completions
from fqconsole.cli.options import Device, Force, GroupSize, Head, Json
from fqconsole.cli.output import Output
from fqconsole.errors import UsageError

if TYPE_CHECKING:
    from fqconsole.fit import FitPreview, Option

MARKS = {"fits": "✓", "tight": "!", "does not fit": "✗"}


def fit(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            autocompletion=completions.models,
            help="A built-in model (demo), a folder with config.json, or a model id of the Hugging Face hub.",
        ),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="In MODEL's place: a model that is nowhere, by its config.json."),
    ] = None,
    bits: Annotated[
        str,
        typer.Option(metavar="BITS", help="Precisions to look at, of 16, 8, 4 and 3, separated by commas."),
    ] = "16,8,4,3",
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="COUNTS",
            help="Numbers of GPUs to look at, separated by commas. [default: 1,2,4,8; of a list all]",
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Judge against this GPU, h100-80gb say, not by the memory free here; "
            "several of one machine, separated by commas.",
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            metavar="TOKENS",
            min=1,
            help="Tokens of prompt and answer. [default: 8192, or the model's own limit]",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Sequences at a time.")] = 1,
    group_size: GroupSize = None,
    kv_bits: Annotated[
        int, typer.Option(metavar="BITS", help="Width of keys and values: 16, or 8 for int8 with scales.")
    ] = 16,
    head: Head = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print every term of every option with where it comes from.")
    ] = False,
    history: Annotated[
        bool,
        typer.Option("--history", help="What answers were predicted to take, and took; without a MODEL."),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Measure what a process takes on the device besides its model, and the memory's bandwidth, "
            "in some ten seconds; without a MODEL.",
        ),
    ] = False,
    device: Device = "auto",
    force: Force = False,
    json: Json = False,
) -> None:
    """Preview the memory that a model needs for each precision and number of GPUs.

    Where one precision and one number of GPUs are asked for and that does not fit, the exit code is 3.
    """
    from fqconsole.cli.bare_model import described_config
    from fqconsole.cli.memory_check import capacity
    from fqconsole.cli.model_choice import described
    from fqconsole.cli.number_lists import group_size_of, numbers
    from fqconsole.fit import preview

    output = Output(json=json)
    if [model is not None, config is not None, history, probe].count(True) != 1:
        raise UsageError(
            "One thing is looked at.",
            "Name a MODEL, or give --config FILE, --history or --probe; see fqconsole fit --help.",
        )
    if history or probe:
        _machine(output, device, probe=probe)
        return
    asked = numbers(bits, "--bits", allowed=(16, 8, 4, 3))
    counts = numbers(gpus or _counts(gpu), "--gpus")
    found = preview(
        described_config(config, output) if config is not None else described(model or ""),
        capacity(gpu, device),
        bits=asked,
        gpu_counts=counts,
        context=context,
        batch=batch,
        group_size="default" if group_size is None else group_size_of(group_size),
        kv_bits=kv_bits,
        head=16 if head is None else head,
    )
    if found.capacity.kind == "host":
        output.say(
            "No GPU here, so this machine's memory counts; --gpu h100-80gb, say, looks at a GPU instead."
        )
    if json:
        output.result(_document(found))
    else:
        output.line(_page(found, explain=explain))
    one_asked = len(asked) == 1 and len(counts) == 1
    if one_asked and found.options[0].verdict == "does not fit" and not force:
        raise typer.Exit(3)


def _machine(output: Output, device: str, *, probe: bool) -> None:
    """What was measured of this machine, now or by its runs."""
    from fqconsole.cli import fit_history, fit_probe
    from fqconsole.cli.memory_check import capacity, memory_history

    if probe:
        found = fit_probe.probed_here(output, device)
        if output.json:
            output.result(found)
        else:
            output.line(fit_probe.page(found))
        return
    pairs, here = memory_history(), capacity(device=device)
    if output.json:
        output.result(fit_history.document(pairs, here))
    else:
        output.line(fit_history.page(pairs, here))


def _counts(gpu: str | None) -> str:
    """One to eight of a kind; of GPUs that were listed the best one, and all."""
    listed = (gpu or "").count(",") + 1
    return f"1,{listed}" if listed > 1 else "1,2,4,8"


def _document(found: "FitPreview") -> dict[str, Any]:
    return {
        "model": found.model,
        "context": found.context,
        "batch": found.batch,
        "capacity": found.capacity,
        "largest_context": found.largest_context,
        "quantize_peak_bytes": found.quantize_peak,
        "options": found.options,
    }


def _page(found: "FitPreview", *, explain: bool) -> str:
    from fqconsole.cli.fit_history import accuracy_words
    from fqconsole.cli.quantities import size
    from fqconsole.fit import explain as explained
    from fqconsole.fit import split_sentence

    capacity = found.capacity
    free = f"{size(capacity.free_bytes)} free of {size(capacity.total_bytes)}"
    if len(set(capacity.free_per_gpu)) > 1:
        free = " and ".join(size(count) for count in capacity.free_per_gpu) + " free"
    parts = [
        f"{found.model} at context {found.context}, batch {found.batch}, on {capacity.name}: {free}",
        _grid(found),
    ]
    split = split_sentence(found)
    if split and not explain:
        parts.append(f"{split}.")
    if capacity.accuracy is not None:
        parts[0] += f"; the preview is {accuracy_words(capacity)}"
    if not explain and found.options[0].decode_tok_s is not None:
        parts.append(_ceilings(found))
    if explain:
        parts += ["\n".join(explained(found, option)) for option in found.options]
    else:
        parts.append(
            "\n".join(
                f"{_name(option, found)}: {option.verdict}. It would with {option.smallest_change}."
                for option in found.options
                if option.smallest_change
            )
        )
    return "\n\n".join(part for part in parts if part)


def _grid(found: "FitPreview") -> str:
    from fqconsole.cli.quantities import precision, size
    from fqconsole.cli.table import table

    counts = list(dict.fromkeys(option.gpus for option in found.options))
    host = found.capacity.kind == "host"
    head = ["", *("this machine" if host else f"{count} GPU{'s' if count > 1 else ''}" for count in counts)]
    rows = []
    for bits in dict.fromkeys(option.bits for option in found.options):
        row = [precision(bits)]
        for option in found.options:
            if option.bits == bits:
                share = option.total_bytes_per_gpu / max(1, option.capacity_bytes)
                row.append(f"{MARKS[option.verdict]} {size(option.total_bytes_per_gpu)} {share:.0%}")
        rows.append(row)
    return table(head, rows)


def _ceilings(found: "FitPreview") -> str:
    """How fast each precision could decode, on the fewest GPUs looked at."""
    from fqconsole.cli.quantities import precision, speed

    fewest = {option.bits: option for option in reversed(found.options)}
    words = [
        f"{precision(option.bits)} {speed(option.decode_tok_s)} tok/s" for option in reversed(fewest.values())
    ]
    return f"Decode at most (cache full, bandwidth {found.capacity.bandwidth_source}): {', '.join(words)}."


def _name(option: "Option", found: "FitPreview") -> str:
    from fqconsole.cli.quantities import precision

    place = "" if found.capacity.kind == "host" else f" on {option.gpus} GPU{'s' if option.gpus > 1 else ''}"
    return precision(option.bits) + place
