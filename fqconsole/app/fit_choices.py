"""The ◂ ▸ choices of the Fit screen: which values there are, and the next one to the left or right."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from fqconsole.app import formatting
from fqconsole.app.model_parts import ModelParts
from fqconsole.app.workspace import FitChoice, Goal
from fqconsole.models.description import ModelDescription
from quantizer.head import HEAD_BITS
from quantizer.ladder import DEFAULT_THRESHOLD
from quantizer.methods import MODES as METHODS
from quantizer.plan import ExpertSets
from quantizer.scheme import WIDTHS, widths_word

ChoiceName = Literal[
    "goal",
    "precision",
    "target",
    "widths",
    "groups",
    "mode",
    "head",
    "experts",
    "gpus",
    "context",
    "batch",
    "kv",
]
LAST_NAMES: tuple[ChoiceName, ...] = ("mode", "head", "experts", "gpus", "context", "batch", "kv")
NAMES: tuple[ChoiceName, ...] = ("goal", "precision", "groups", *LAST_NAMES)
PLANNED_NAMES: tuple[ChoiceName, ...] = ("goal", "target", "widths", *LAST_NAMES)
TITLES = {
    "goal": "Goal",
    "precision": "Precision",
    "target": "Target",
    "widths": "Widths",
    "groups": "Groups",
    "mode": "Mode",
    "head": "Head",
    "experts": "Experts",
    "gpus": "GPUs",
    "context": "Context",
    "batch": "Batch",
    "kv": "KV cache",
}
GOALS: tuple[Goal, ...] = ("rule", "size", "room", "loss")
GOAL_WORDS = {"rule": "one width", "size": "bits/weight", "room": "what fits", "loss": "loss at most"}
TARGET_BITS = (3.1, 3.2, 3.4, 3.6, 3.8, 4.0, 4.25, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0)
MAX_LOSSES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
MODES = tuple(reversed(METHODS))  # best first
MODE_WORDS = {"best": "searched", "fast": "one pass", "finequant": "the paper"}
SHARED_WIDTHS = (WIDTHS, (4, 8, 16))
WIDTHS_WORDS = {WIDTHS: "all", (4, 8, 16): "for engines"}  # docs/serve.md
EXPERT_SETS: tuple[ExpertSets, ...] = get_args(ExpertSets)
EXPERT_WORDS = {"model": "one scheme", "layer": "one each"}
PRECISIONS = (16, 8, 4, 3)
GPU_COUNTS = (1, 2, 4, 8)
KV_BITS = (16, 8)
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
    """`adaptive`, `64`; of a run of the command line also `adaptive 128`, `matrix`."""
    for word, granularity, group_size in GROUPS:
        if (granularity, group_size) == (choice.granularity, choice.group_size):
            return word
    base = "" if choice.group_size == "default" else formatting.group(choice.group_size)
    return base if choice.granularity == "fixed" else f"{choice.granularity} {base}".strip()


def names_of(choice: FitChoice, parts: ModelParts) -> tuple[ChoiceName, ...]:
    """The rows that this choice has: with a plan a target and widths take the place of precision and groups;
    head and experts only where the model has them.
    """
    names = NAMES if choice.goal == "rule" else PLANNED_NAMES
    missing = {name for name, there in (("head", parts.head), ("experts", parts.experts)) if not there}
    return tuple(name for name in names if name not in missing)


def stepped(
    choice: FitChoice, name: ChoiceName, step: int, about: ModelDescription, *, host: bool = False
) -> FitChoice:
    """The choice with `name` moved by `step` (−1 or 1); it stays at either end. The host is one device."""
    match name:
        case "goal":
            return replace(choice, goal=_next(GOALS, choice.goal, step))
        case "target":
            return _other_target(choice, step)
        case "widths":
            return replace(choice, widths=_next(SHARED_WIDTHS, choice.widths, step))
        case "precision":
            return replace(choice, bits=_next(PRECISIONS, choice.bits, step))
        case "groups":
            return _other_groups(choice, step)
        case "mode":
            return choice if _wide(choice) else replace(choice, mode=_next(MODES, choice.mode, step))
        case "head":
            return choice if _wide(choice) else replace(choice, head=_next(HEAD_BITS, choice.head, step))
        case "experts":
            sets = _next(EXPERT_SETS, choice.experts, step)
            return choice if _wide(choice) else replace(choice, experts=sets)
        case "gpus":
            return choice if host else replace(choice, gpus=_next(GPU_COUNTS, choice.gpus, step))
        case "context":
            values = sorted({*contexts(about.context_length), usual_context(about.context_length)})
            now = choice.context or usual_context(about.context_length)
            return replace(choice, context=_next(values, now, step))
        case "kv":
            return replace(choice, kv_bits=_next(KV_BITS, choice.kv_bits, step))
        case _:
            return replace(choice, batch=_next(BATCHES, choice.batch, step))


def _wide(choice: FitChoice) -> bool:
    """Nothing is quantized."""
    return choice.goal == "rule" and choice.bits == 16


def _other_target(choice: FitChoice, step: int) -> FitChoice:
    if choice.goal == "size":
        return replace(choice, target_bits=_next(TARGET_BITS, choice.target_bits, step))
    if choice.goal == "loss":
        return replace(choice, max_loss=_next(MAX_LOSSES, choice.max_loss, step))
    return choice


def _other_groups(choice: FitChoice, step: int) -> FitChoice:
    if choice.bits == 16:
        return choice
    words = [word for word, _granularity, _size in GROUPS]
    _word, granularity, group_size = GROUPS[words.index(_next(words, group_word(choice), step))]
    return replace(choice, granularity=granularity, group_size=group_size)


def target_word(choice: FitChoice) -> str:
    """`3.60`, `1 %`, and what the goal “what fits” needs none of."""
    if choice.goal == "size":
        return f"{choice.target_bits:.2f}"
    return f"{choice.max_loss * 100:g} %" if choice.goal == "loss" else formatting.UNKNOWN


def goal_sentence(choice: FitChoice) -> str:
    """What a plan is asked for, in words that stand in its reasons: `3.6 bits per weight`."""
    if choice.goal == "size":
        return f"{choice.target_bits:g} bits per weight"
    return f"loss up to {choice.max_loss * 100:g} %"


def unusual(head: int, experts: str, widths: Sequence[int]) -> list[str]:
    """`widths 4,8,16`, `head int8`, `experts by layer`: what is not as usual."""
    words = [f"widths {widths_word(widths)}"] if tuple(widths) != WIDTHS else []
    words += [f"head {formatting.precision(head)}"] if head != HEAD_BITS[0] else []
    return words + ([f"experts by {experts}"] if experts != EXPERT_SETS[0] else [])


def unusual_of(options: Mapping[str, Any]) -> list[str]:
    """The same of what a run was begun with; older runs had no such options."""
    return unusual(options.get("head", 16), options.get("experts", "model"), options.get("widths", WIDTHS))


def _next(values: Any, now: Any, step: int) -> Any:
    """The neighbour of `now`; a number that is not among them goes to the nearest in that direction."""
    values = list(values)
    if now in values:
        return values[min(max(values.index(now) + step, 0), len(values) - 1)]
    if isinstance(now, int | float):
        beyond = [value for value in values if (value > now) == (step > 0)]
        return min(beyond, key=lambda value: abs(value - now), default=now)
    return values[0]


def shown(
    choice: FitChoice,
    name: ChoiceName,
    about: ModelDescription,
    *,
    host: bool,
    devices: int,
    option: Any = None,
) -> tuple[str, str]:
    """The value between ◂ and ▸, and the quiet words behind it; `option` tells how far it could go."""
    match name:
        case "goal":
            return GOAL_WORDS[choice.goal], ""
        case "target":
            return target_word(choice), {"size": "bits", "loss": "predicted"}.get(choice.goal, "all there is")
        case "precision":
            return formatting.precision(choice.bits), ""
        case "widths" | "groups" | "mode" | "head" | "experts":
            return (formatting.UNKNOWN, "") if _wide(choice) else _how(choice, name, about)
        case "gpus":
            if host:
                return formatting.UNKNOWN, "none: CPU"
            if choice.gpus > 1 and option is not None and option.gpus == choice.gpus:
                return str(choice.gpus), option.split
            return str(choice.gpus), f"of {devices}" if devices else ""
        case "context":
            now = choice.context or usual_context(about.context_length)
            return formatting.tokens(now), _most(option and option.largest_context)
        case "kv":
            return formatting.precision(choice.kv_bits), ""
        case _:
            return str(choice.batch), _most(option and option.largest_batch)


def _how(choice: FitChoice, name: ChoiceName, about: ModelDescription) -> tuple[str, str]:
    """The same of a choice that says how weights are quantized."""
    match name:
        case "widths":
            return widths_word(choice.widths), WIDTHS_WORDS.get(choice.widths, "")
        case "groups":
            own = choice.threshold != DEFAULT_THRESHOLD and choice.granularity != "fixed"
            return group_word(choice), f"R {choice.threshold:g}" if own else ""
        case "mode":
            return choice.mode, MODE_WORDS.get(choice.mode, "")
        case "head":
            beside = choice.head != HEAD_BITS[0] and about.tied_embeddings
            return formatting.precision(choice.head), "tied: a copy" if beside else ""
        case _:
            return choice.experts, EXPERT_WORDS[choice.experts]


def _most(count: int | None) -> str:
    if count is None:
        return ""
    return f"≤ {formatting.tokens(count)}" if count else "✗ none fits"
