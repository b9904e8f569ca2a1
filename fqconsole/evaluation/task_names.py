"""The benchmarks that lm-evaluation-harness runs, by the names of the paper, and what one of them gave."""

from collections.abc import Sequence

import msgspec

from fqconsole.errors import UsageError

# What FineQuant was measured with, and the harness's name for it.
PAPER = {
    "lambada": "lambada_openai",
    "hellaswag": "hellaswag",
    "piqa": "piqa",
    "winogrande": "winogrande",
    "openbookqa": "openbookqa",
    "rte": "rte",
    "copa": "copa",
    "wmt16-de-en": "wmt16-de-en",
}
ALL = "paper"  # stands for all of them


class TaskScore(msgspec.Struct, frozen=True):
    """One number of one task. `standard_error` None where it has no closed form."""

    task: str
    metric: str
    value: float
    standard_error: float | None
    higher_is_better: bool
    questions: int
    signature: str = ""  # of sacrebleu's: how it was computed


def harness_names(asked: Sequence[str]) -> tuple[str, ...]:
    """The harness's names of `asked`, each once: "paper" is all of the paper's, any other name stays.

    Raises UsageError where nothing is asked.
    """
    names = [name for word in asked for name in (PAPER if word.lower() == ALL else (word,))]
    if not names:
        raise UsageError("No task was named.", f"Name tasks, such as piqa,hellaswag, or {ALL}.")
    return tuple(dict.fromkeys(PAPER.get(name.lower(), name) for name in names))
