"""What would be typed for the same job: the choices of the console as a command."""

import shlex

from fqconsole.app.fit_choices import EXPERT_SETS
from fqconsole.app.workspace import FitChoice
from fqconsole.models.description import ModelDescription
from quantizer.head import HEAD_BITS
from quantizer.ladder import DEFAULT_THRESHOLD
from quantizer.scheme import WIDTHS, group_word, widths_word


def quantize_command(about: ModelDescription, choice: FitChoice) -> str:
    """`fqconsole quantize demo --bits 4 --mode best --head 8`; empty where no command asks for the same."""
    model = about.path if about.source == "folder" and about.path else about.id
    what = _what(choice)
    if not what:
        return ""
    words = ["fqconsole", "quantize", model, *what, "--mode", choice.mode]
    if choice.experts != EXPERT_SETS[0]:
        words += ["--experts", choice.experts]
    if choice.head != HEAD_BITS[0]:
        words += ["--head", str(choice.head)]
    if choice.goal != "rule" and choice.widths != WIDTHS:
        words += ["--widths", widths_word(choice.widths)]
    return shlex.join(words)


def _what(choice: FitChoice) -> list[str]:
    match choice.goal:
        case "size":
            return ["--target-bits", f"{choice.target_bits:g}"]
        case "loss":
            return ["--max-loss", f"{choice.max_loss * 100:g}%"]
        case "room":
            return _room(choice)
        case _:
            return ["--bits", str(choice.bits), *_groups(choice)]


def _groups(choice: FitChoice) -> list[str]:
    """A group alone means fixed ones, and none adaptive ones."""
    words = [] if choice.group_size == "default" else ["--group-size", group_word(choice.group_size)]
    usual = "fixed" if words else "adaptive"
    if choice.granularity != usual:
        words = ["--granularity", choice.granularity, *words]
    if choice.granularity != "fixed" and choice.threshold != DEFAULT_THRESHOLD:
        words += ["--threshold", f"{choice.threshold:g}"]
    return words


def _room(choice: FitChoice) -> list[str]:
    """The command counts keys and values in 16 bits: in 8 another plan would fit."""
    if choice.kv_bits != 16:
        return []
    words = ["--fit", choice.gpu_name or "here"]
    if choice.gpus > 1:
        words += ["--gpus", str(choice.gpus)]
    if choice.context is not None:
        words += ["--context", str(choice.context)]
    return words if choice.batch == 1 else [*words, "--batch", str(choice.batch)]
