"""The ◂ ▸ choices of the Fit screen: which values there are, and the next one to the left or right."""

from dataclasses import replace
from typing import Any, Literal

from fqconsole.app import formatting
from fqconsole.app.workspace import FitChoice
from fqconsole.models.description import ModelDescription

ChoiceName = Literal["precision", "groups", "gpus", "context", "batch"]
NAMES: tuple[ChoiceName, ...] = ("precision", "groups", "gpus", "context", "batch")
TITLES = {
    "precision": "Precision",
    "groups": "Groups",
    "gpus": "GPUs",
    "context": "Context",
    "batch": "Batch",
}
PRECISIONS = (16, 8, 4, 3)
GPU_COUNTS = (1, 2, 4, 8)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
SMALLEST_CONTEXT = 256
USUAL_CONTEXT = 8192
# The word the operator reads, and what goes into the request: granularity and group size.
GROUPS: tuple[tuple[str, Literal["adaptive", "fixed"], int | Literal["default"] | None], ...] = (
    ("adaptive", "adaptive", "default"),
    ("channel", "fixed", None),
    ("256", "fixed", 256),
    ("128", "fixed", 128),
    ("64", "fixed", 64),
    ("32", "fixed", 32),
    ("16", "fixed", 16),
)


def contexts(longest: int) -> list[int]:
    """Powers of two up to the model's maximum, and the maximum itself."""
    values = []
    value = SMALLEST_CONTEXT
    while value < longest:
        values.append(value)
        value *= 2
    return [*values, longest]


def usual_context(longest: int) -> int:
    """What is shown first: never the maximum of a long-context model, whose cache would dwarf its weights."""
    return min(USUAL_CONTEXT, longest)


def group_word(choice: FitChoice) -> str:
    for word, granularity, group_size in GROUPS:
        if (granularity, group_size) == (choice.granularity, choice.group_size):
            return word
    return formatting.group(choice.group_size) if isinstance(choice.group_size, int) else "channel"


def stepped(
    choice: FitChoice, name: ChoiceName, step: int, about: ModelDescription, *, host: bool = False
) -> FitChoice:
    """The choice with `name` moved by `step` (−1 or 1); it stays at either end. The host is one device."""
    if name == "precision":
        return replace(choice, bits=_next(PRECISIONS, choice.bits, step))
    if name == "groups":
        if choice.bits == 16:
            return choice
        words = [word for word, _granularity, _size in GROUPS]
        word = _next(words, group_word(choice), step)
        _word, granularity, group_size = GROUPS[words.index(word)]
        return replace(choice, granularity=granularity, group_size=group_size)
    if name == "gpus":
        return choice if host else replace(choice, gpus=_next(GPU_COUNTS, choice.gpus, step))
    if name == "context":
        values = sorted({*contexts(about.context_length), usual_context(about.context_length)})
        now = choice.context or usual_context(about.context_length)
        return replace(choice, context=_next(values, now, step))
    return replace(choice, batch=_next(BATCHES, choice.batch, step))


def _next(values: Any, now: Any, step: int) -> Any:
    values = list(values)
    index = values.index(now) if now in values else 0
    return values[min(max(index + step, 0), len(values) - 1)]


def shown(
    choice: FitChoice, name: ChoiceName, about: ModelDescription, *, host: bool, devices: int
) -> tuple[str, str]:
    """The value between ◂ and ▸, and the quiet words behind it."""
    if name == "precision":
        return formatting.precision(choice.bits), ""
    if name == "groups":
        return (formatting.UNKNOWN, "") if choice.bits == 16 else (group_word(choice), "")
    if name == "gpus":
        if host:
            return formatting.UNKNOWN, "none: CPU"
        return str(choice.gpus), f"of {devices}" if devices else ""
    if name == "context":
        now = choice.context or usual_context(about.context_length)
        return formatting.tokens(now), f"of {formatting.context(about.context_length)}"
    return str(choice.batch), ""
