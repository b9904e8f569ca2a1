"""How scales are found and channels balanced: one frozen choice, recorded in the plan. No weights, no torch.

A mode is a word for a choice that is worth a name. Single methods joined by `+` make any other:
`signed`, `search+importance`, `search+p=2.4+balance`.
"""

from typing import Literal

import msgspec

from fqconsole.errors import UsageError

Scales = Literal["absmax", "signed", "search"]


class Methods(msgspec.Struct, frozen=True):
    """What is done beyond rounding to the nearest code. Neither bits nor speed of the result depend on it."""

    scales: Scales = "absmax"
    power: float = 2.0  # of the error that a search minimises
    importance: bool = False  # the search weights the error of an input channel by the channel's magnitude
    balance: bool = False  # input channels are made alike where a norm or a matrix before can undo it


MODES: dict[str, Methods] = {
    "finequant": Methods(),  # the reference: what the paper's summaries describe
    "fast": Methods(scales="signed"),
    "best": Methods(scales="search", importance=True, balance=True),
}
DEFAULT_MODE = "best"
LARGEST_POWER = 8.0  # beyond it a few weights' errors overflow float32


def methods_of(word: str) -> Methods:
    """The methods of a mode, or of single methods joined by `+`. Raises UsageError naming what exists."""
    if word in MODES:
        return MODES[word]
    chosen = Methods()
    for part in word.split("+"):
        name, _, number = part.strip().partition("=")
        if name in ("absmax", "signed", "search") and not number:
            chosen = msgspec.structs.replace(chosen, scales=name)
        elif name in ("importance", "balance") and not number:
            chosen = msgspec.structs.replace(chosen, **{name: True})
        elif name == "p":
            chosen = msgspec.structs.replace(chosen, power=_power(number))
        else:
            raise UsageError(
                f"There is no mode {word!r}.",
                f"Choose {', '.join(MODES)}, or join single methods by +: absmax, signed or search, "
                "importance, balance, p=<number>.",
            )
    return chosen


def mode_word(methods: Methods) -> str:
    """The word that `methods_of` reads back."""
    for word, known in MODES.items():
        if known == methods:
            return word
    parts: list[str] = [methods.scales]
    parts += [f"p={methods.power:g}"] if methods.power != 2 else []
    parts += [name for name in ("importance", "balance") if getattr(methods, name)]
    return "+".join(parts)


def _power(number: str) -> float:
    try:
        power = float(number)
    except ValueError:
        power = 0.0
    if not 1 <= power <= LARGEST_POWER:
        raise UsageError(
            f"The power {number!r} is not a number from 1 to {LARGEST_POWER:g}.", "Choose p=2, the usual one."
        )
    return power
