"""The rows of the model list as plain data: what is shown of a model, how rows are filtered and sorted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fqconsole.app import formatting
from fqconsole.app.model_history import WidthRecord, history_lines
from fqconsole.app.verdicts import BestFit
from fqconsole.app.widgets.record_table import Cell, Value
from fqconsole.models.description import ModelDescription, ModelEntry

Order = Literal["listed", "name", "size", "fit"]
ORDERS: tuple[Order, ...] = ("listed", "name", "size", "fit")
ATTENTION_WORDS = {"full": "full", "sliding": "swa", "chunked": "chunked", "mla": "mla", "linear": "linear"}


@dataclass(frozen=True)
class ModelRow:
    """One model; what is still unknown is None."""

    entry: ModelEntry
    description: ModelDescription | None = None
    best: BestFit | None = None
    problem: str = ""
    disk_free: int | None = None  # where a download would go

    @property
    def key(self) -> str:
        return f"{self.entry.source}:{self.entry.id}"


def attention_words(description: ModelDescription) -> str:
    """`gqa`, `gqa+swa`, `mla, moe`: the kinds of attention, then whether there are experts."""
    words: list[str] = []
    for layer in description.attention:
        word = ATTENTION_WORDS[layer.kind]
        if layer.kind == "full":
            word = "mha" if layer.kv_heads >= description.heads else "mqa" if layer.kv_heads == 1 else "gqa"
        if word not in words:
            words.append(word)
    return "+".join(words) + (", moe" if description.experts else "")


def short_id(entry: ModelEntry) -> str:
    """The name without its owner; of a folder its last part."""
    return entry.id.rstrip("/").rpartition("/")[2] or entry.id


def cells(row: ModelRow) -> list[Value]:
    """Model, parameters, context, attention, disk, best fit."""
    about = row.description
    if row.problem:
        return [Cell(short_id(row.entry), "quiet"), "", "", "", "", Cell("  ✗ unusable", "bad")]
    if about is None:
        return [short_id(row.entry), *(Cell(formatting.UNKNOWN, "quiet"),) * 2, "  …", "", "  …"]
    return [
        short_id(row.entry),
        formatting.parameters(about.parameters),
        formatting.context(about.context_length),
        "  " + attention_words(about),
        formatting.gib(about.bytes),
        best_cell(row),
    ]


def best_cell(row: ModelRow) -> Value:
    about = row.description
    if about is not None and about.quantization is not None:
        return Cell(f"  {formatting.precision(about.quantization.bits)}: ⏎ talk", "ok")
    return Cell("  " + row.best.text, row.best.style) if row.best else "  …"


def matches(row: ModelRow, words: str) -> bool:
    """Every word occurs in the id, the source or the architecture."""
    about = row.description
    text = f"{row.entry.id} {row.entry.source} {about.architecture if about else ''}".lower()
    return all(word in text for word in words.lower().split())


def arranged(rows: list[ModelRow], words: str, order: Order) -> list[ModelRow]:
    """The rows that match, in the order asked for; unusable models come last except as listed."""
    shown = [row for row in rows if matches(row, words)]
    if order == "name":
        return sorted(shown, key=lambda row: (bool(row.problem), short_id(row.entry).lower()))
    if order == "size":
        return sorted(
            shown,
            key=lambda row: (row.description is None, -(row.description.bytes if row.description else 0)),
        )
    if order == "fit":
        return sorted(shown, key=lambda row: (row.best is None, row.best.share if row.best else 0.0))
    return shown


def counts(rows: list[ModelRow]) -> str:
    """`4 built in · 2 in folders · 14 in the HF cache`."""
    words = (
        ("builtin", "built in"),
        ("folder", "in folders"),
        ("cache", "in the HF cache"),
        ("hub", "on the hub"),
        ("config", "of a config"),
    )
    parts = []
    for source, word in words:
        number = sum(row.entry.source == source for row in rows)
        if number:
            parts.append(f"{number} {word}")
    return " · ".join(parts)


def detail_lines(
    row: ModelRow, summary: str = "", found: Sequence[WidthRecord] | None = None, most: int = 4, end: str = ""
) -> list[str]:
    """What stands under the list about the model under the cursor: at most `most` lines, what was measured
    last of it among them, and at the end what Enter does and costs, or `end` in its place.
    """
    about = row.description
    if row.problem:
        return [row.problem]
    if about is None:
        return ["Reading its description …"]
    layer = about.attention[0] if about.attention else None
    heads = f"{about.heads} q / {layer.kv_heads} kv heads · head_dim {layer.head_dim} · " if layer else ""
    experts = f"{about.experts} experts, {about.experts_per_token} a token · " if about.experts else ""
    head = "tied head" if about.tied_embeddings else "untied head"
    shape = f"{about.layers} layers · {heads}{experts}vocab {formatting.tokens(about.vocab_size)} · {head}"
    lines = [line for line in (shape, _files_line(about), summary) if line]
    measured = history_lines(found, most - len(lines) - 1)
    return [*lines, *measured, end or _next_line(row, about)]


def _files_line(about: ModelDescription) -> str:
    files = len({tensor.file for tensor in about.tensors}) if about.source != "config" else 0
    parts = [f"rev {about.revision[:7]}"] if about.revision else []
    if files:
        parts.append(f"{files} safetensors file{'' if files == 1 else 's'}")
    parts.append(f"{about.dtype} {formatting.memory(about.bytes)}")
    parts.append(about.license or "licence not stated")
    if about.source == "builtin":
        parts.append("built in")
    elif about.source == "cache":
        parts.append("complete")
    elif about.source == "folder" and about.path:
        parts.append(about.path)
    return " · ".join(parts)


def _next_line(row: ModelRow, about: ModelDescription) -> str:
    if about.quantization is not None:
        made = f" from {about.quantization.source_model}" if about.quantization.source_model else ""
        return f"Quantized to {formatting.precision(about.quantization.bits)}{made}. ⏎ opens a session on it."
    if about.source == "config":
        return "Known from its config alone. ⏎ shows what would fit."
    if about.path is None:
        room = ""
        if row.disk_free is not None:
            sign = "✓" if row.disk_free > about.bytes else "✗ not enough"
            room = f", {formatting.memory(row.disk_free)} of disk are free {sign}"
        return f"⏎ shows what would fit. d downloads {formatting.memory(about.bytes)}{room}."
    return "⏎ shows what fits in memory; only headers are read, nothing is loaded."


def about_lines(row: ModelRow, found: Sequence[WidthRecord] | None) -> list[str]:
    """Everything that is known of a model, for the dialog: where it is, its files, what was measured."""
    about = row.description
    if about is None:
        return [row.problem or "Its description is still being read."]
    lines = [
        f"{'model':<13}{about.id}",
        f"{'architecture':<13}{about.architecture or formatting.UNKNOWN}, "
        f"{formatting.parameters(about.parameters)} weights, {about.dtype}",
        f"{'licence':<13}{about.license or 'not stated'}",
        f"{'revision':<13}{about.revision or formatting.UNKNOWN}",
        f"{'lies in':<13}{about.path or 'nowhere on this machine'}",
    ]
    lines += [f"{'note' if not index else '':<13}{note}" for index, note in enumerate(about.notes)]
    lines += ["", f"measured here{'' if found else ': nothing yet'}"]
    lines += [f"  {held.line}" for held in found or ()]
    sizes: dict[str, list[int]] = {}
    for tensor in about.tensors if about.source != "config" else ():
        sizes.setdefault(tensor.file, []).append(tensor.bytes)
    if sizes:
        lines += ["", "files"]
    lines += [
        f"  {formatting.memory(sum(held)):>9}  {len(held):>5} tensors  {file}"
        for file, held in sorted(sizes.items())
    ]
    return lines
