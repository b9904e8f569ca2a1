"""`fqconsole models`: what can be quantized or talked to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli.options import Events, Json, Model, Quiet
from fqconsole.cli.output import Output

if TYPE_CHECKING:
    from fqconsole.models.description import ModelDescription, ModelEntry

application = typer.Typer(rich_markup_mode=None, help="List, show and download models.")

Folders = Annotated[
    list[Path] | None,
    typer.Option(
        "--folder", metavar="DIR", help="Look into this folder of models too; may be given more than once."
    ),
]


@application.callback(invoke_without_command=True)
def models(context: typer.Context, folder: Folders = None, json: Json = False) -> None:
    """List the built-in models, yours and those in the Hugging Face cache; `models show MODEL` tells more."""
    if context.invoked_subcommand is None:
        list_(folder, json)


@application.command("list")
def list_(folder: Folders = None, json: Json = False) -> None:
    """List the built-in models, those in your folders and those in the Hugging Face cache."""
    from fqconsole.models import list_models

    output = Output(json=json)
    rows = [_row(entry) for entry in list_models(tuple(folder or ()))]
    if json:
        output.result({"models": rows})
        return
    from fqconsole.cli.quantities import UNKNOWN, parameters, size
    from fqconsole.cli.table import table

    output.line(
        table(
            ["model", "weights", "bits", "disk", "architecture", "source", ""],
            [
                [
                    row["id"],
                    parameters(row["parameters"]),
                    str(row["bits"] or UNKNOWN),
                    size(row["bytes"]),
                    row["architecture"] or UNKNOWN,
                    row["source"],
                    f"✗ {row['problem']}" if row["problem"] else "",
                ]
                for row in rows
            ],
            right="weights bits disk",
        )
    )


def _row(entry: "ModelEntry") -> dict[str, Any]:
    """One model of the list; what its files don't tell is null, and `problem` says why."""
    from fqconsole.errors import OperatorError
    from fqconsole.models import describe

    row: dict[str, Any] = {
        "id": entry.id,
        "path": entry.path,
        "source": entry.source,
        "revision": entry.revision,
        "architecture": None,
        "parameters": None,
        "bytes": None,
        "bits": None,
        "problem": entry.problem,
    }
    if entry.problem:
        return row
    try:
        description = describe(entry)
    except OperatorError as error:
        return row | {"problem": error.what}
    return row | {
        "path": description.path,
        "architecture": description.architecture,
        "parameters": description.parameters,
        "bytes": description.bytes,
        "bits": description.quantization.bits if description.quantization else 16,
    }


@application.command("show")
def show(model: Model, json: Json = False) -> None:
    """Describe one model from its config and safetensors headers; one of the hub before any download."""
    from fqconsole.cli.model_choice import described

    output = Output(json=json)
    description = described(model)
    if json:
        output.result(description)
    else:
        output.line(_shown(description))


def _shown(model: "ModelDescription") -> str:
    from fqconsole.cli.escaping import one_line
    from fqconsole.cli.quantities import UNKNOWN, group, parameters, precision, size

    kinds: dict[str, int] = {}
    for layer in model.attention:
        kinds[layer.kind] = kinds.get(layer.kind, 0) + 1
    facts = {
        "source": f"{model.source}, revision {model.revision}" if model.revision else model.source,
        "folder": model.path or "not downloaded",
        "architecture": f"{model.architecture} ({model.model_type})",
        "weights": f"{parameters(model.parameters)}, {size(model.bytes)} in {model.dtype}, "
        f"{len(model.tensors)} tensors",
        "layers": f"{model.layers}, hidden {model.hidden_size}, inner {model.intermediate_size}",
        "attention": f"{', '.join(f'{kind} ×{count}' for kind, count in kinds.items())}, "
        f"{model.heads} heads, "
        f"{model.attention[0].kv_heads if model.attention else UNKNOWN} for keys and values",
        "context": f"{model.context_length} tokens, vocabulary {model.vocab_size}"
        + (", head tied to the embedding" if model.tied_embeddings else ""),
    }
    if model.experts:
        facts["experts"] = f"{model.experts}, {model.experts_per_token} for each token"
    if model.quantization:
        stored = model.quantization
        groups = ", ".join(group(size_) for size_ in stored.group_sizes)
        maker = "by fqconsole" if stored.made_by_fqconsole else f"by {stored.method}"
        facts["quantized"] = f"{precision(stored.bits)}, groups {groups}, {maker}"
        if stored.source_model:
            facts["made from"] = stored.source_model
    if model.license:
        facts["license"] = model.license
    if model.suggested_prompt:
        facts["try"] = model.suggested_prompt
    for note in model.notes:
        facts["note"] = f"{facts['note']} {note}" if "note" in facts else note
    return "\n".join([one_line(model.id), *(f"  {name:13} {one_line(fact)}" for name, fact in facts.items())])


@application.command("download")
def download(
    model: Annotated[str, typer.Argument(metavar="ID", help="A model id of the Hugging Face hub.")],
    revision: Annotated[
        str | None,
        typer.Option(metavar="REVISION", help="A branch, tag or commit; the default branch when not given."),
    ] = None,
    json: Json = False,
    events: Events = False,
    quiet: Quiet = False,
) -> None:
    """Fetch a model into the standard Hugging Face cache; goes on where an earlier download stopped."""
    from fqconsole.cli.job_driver import JobDriver
    from fqconsole.cli.run_store import open_store
    from fqconsole.jobs.messages import AnyEvent, DownloadDone
    from fqconsole.jobs.runs import begin_download

    output = Output(json=json, quiet=quiet, events=events)
    done: list[DownloadDone] = []

    def watch(event: AnyEvent) -> None:
        if isinstance(event, DownloadDone):
            done.append(event)

    with open_store() as store:
        request = begin_download(store, model, revision=revision)
        JobDriver(store, output).run(request, request.run_id, watch)
    for event in done:
        if json:
            output.result({"run_id": event.run_id, "path": event.path, "bytes": event.bytes})
        elif not events:
            output.line(event.path)
