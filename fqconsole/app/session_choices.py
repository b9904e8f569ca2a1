"""Models that a session can be opened on: a run's checkpoint, its 16-bit original, anything in the list."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from fqconsole.app import formatting
from fqconsole.app.services import Services
from fqconsole.app.workspace import SessionChoice
from fqconsole.endpoints.address import Address, is_address, parse_address
from fqconsole.models.description import ModelDescription, ModelEntry

RECENT = 20  # quantize runs looked through for one whose folder is still there
SIXTEEN = 16


def label_of(model_id: str, bits: int) -> str:
    """`Qwen3-8B int4`."""
    return f"{model_id.rstrip('/').rpartition('/')[2]} {formatting.precision(bits)}"


def choice_of_run(run: Any, fallback: SessionChoice | None = None) -> SessionChoice | None:
    """The model that a run made or used, with what was asked of it; None where its folder is not known."""
    row = run.row
    path = row.path if row.kind != "evaluate" else run.options.get("checkpoint_path", row.path)
    if not path:
        return fallback
    if is_address(path):
        return served(parse_address(path))
    bits = row.bits or SIXTEEN
    made = row.kind == "quantize"
    reference = run.options.get("model_path") if made else run.options.get("reference_path")
    return SessionChoice(
        path=path,
        model_id=row.model,
        label=label_of(row.model, bits),
        bits=bits,
        suggested_prompt=(run.generation.prompt or "") if run.generation else "",
        parent_run=row.run_id if made else row.parent,
        reference_path=reference if bits < SIXTEEN else None,
        context=run.options.get("context") if row.kind == "generate" else None,
    )


def choice_of_entry(entry: ModelEntry, about: ModelDescription) -> SessionChoice:
    """A checkpoint of the list that is quantized already."""
    bits = about.quantization.bits if about.quantization else SIXTEEN
    return SessionChoice(
        path=entry.path or "",
        model_id=entry.id,
        label=label_of(entry.id, bits),
        bits=bits,
        suggested_prompt=about.suggested_prompt or "",
    )


def served(address: Address) -> SessionChoice:
    """A model that a server has, whatever its precision there."""
    label = f"{address.model.rpartition('/')[2]} at {address.host}" if address.model else address.host
    return SessionChoice(path=str(address), model_id=address.model or address.host, label=label)


def latest_checkpoint(store: Any) -> SessionChoice | None:
    """The checkpoint that was made last and is still there. Raises StoreError; runs in the store's thread."""
    for row in store.list_runs("kind=quantize status=done", limit=RECENT):
        if row.path and Path(row.path).is_dir():
            return choice_of_run(store.run(row.run_id))
    return None


def with_prompt(services: Services, choice: SessionChoice) -> SessionChoice:
    """The choice with its model's suggested prompt, where it has none. Reads files: not on the event loop."""
    if choice.suggested_prompt:
        return choice
    entries = [ModelEntry(choice.path, "folder", choice.path)]
    if choice.model_id in services.summaries():
        entries.append(ModelEntry(choice.model_id, "builtin", None))
    for entry in entries:
        try:
            prompt = services.describe(entry).suggested_prompt
        except Exception:  # noqa: BLE001, S112 - opening the session says better what is wrong with the folder
            continue
        if prompt:
            return replace(choice, suggested_prompt=prompt)
    return choice


def sixteen_bit(choice: SessionChoice, reference_path: str) -> SessionChoice:
    """The original of a quantized checkpoint."""
    return SessionChoice(
        path=reference_path,
        model_id=choice.model_id,
        label=label_of(choice.model_id, SIXTEEN),
        context=choice.context,
        kv_bits=choice.kv_bits,
        gpus=choice.gpus,
    )


def comparable(services: Services, main: SessionChoice) -> list[SessionChoice]:
    """Everything on this machine that could stand beside `main`, versions of the same model first.

    Reads files: not on the event loop.
    """
    related: list[SessionChoice] = []
    others: list[SessionChoice] = []
    for entry in services.list_models():
        if entry.source == "hub" or entry.problem:
            continue
        try:
            about = services.describe(entry)
        except Exception:  # noqa: BLE001, S112 - an unusable folder is no choice; Models says what is wrong with it
            continue
        bits = (about.quantization.bits if about.quantization else SIXTEEN) or SIXTEEN
        path = about.path or entry.path
        if path is None or path == main.path:
            continue
        made_from = about.quantization.source_model if about.quantization else about.id
        label = label_of(entry.id, bits)
        choice = replace(
            SessionChoice(path, about.id, label, bits),
            context=main.context, kv_bits=main.kv_bits, gpus=main.gpus,
        )  # fmt: skip
        (related if made_from == main.model_id else others).append(choice)
    return [*related, *others]
