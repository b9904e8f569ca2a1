"""Scores of benchmark tasks among a run's metrics: how they are named, and how they are compared.

A task's numbers are the metrics `task NAME METRIC`, with ` error` behind it for the standard error, and
`task NAME questions` for how many there were.
"""

from collections.abc import Iterable, Mapping

from store.samples import Sample
from store.wording import Unit

PREFIX, ERROR, QUESTIONS = "task ", " error", " questions"
SHARES = ("acc", "exact_match", "f1", "mcc", "em")  # 0 to 1
LOWER_IS_BETTER = ("perplexity", "ppl", "brier", "bits_per_byte")  # anywhere in the metric's name
ERROR_RATES = ("ter", "wer", "cer")


def task_metrics(
    task: str, metric: str, value: float, error: float | None, *, questions: int
) -> dict[str, float]:
    """The metrics that one score of a task becomes."""
    name = f"{PREFIX}{task} {metric}"
    found = {name: value, f"{PREFIX}{task}{QUESTIONS}": float(questions)}
    return found if error is None else found | {name + ERROR: error}


def with_errors(found: Mapping[str, Sample]) -> dict[str, Sample]:
    """The numbers of a run; scores carry their standard error as spread, so that noise is called noise."""
    merged = {}
    for name, sample in found.items():
        if name.startswith(PREFIX) and name.endswith(ERROR):
            continue
        error = found.get(name + ERROR)
        if name.startswith(PREFIX) and error is not None and sample.n == 1:
            task = name.removeprefix(PREFIX).split(" ")[0]
            questions = found.get(f"{PREFIX}{task}{QUESTIONS}")
            merged[name] = Sample(
                sample.mean, error.mean, int(questions.mean) if questions else 1, of_mean=True
            )
        else:
            merged[name] = sample
    return merged


def task_names(found: Iterable[Mapping[str, Sample]]) -> list[str]:
    """Every metric of a task that any of the runs has, in alphabetical order."""
    return sorted({name for known in found for name in known if name.startswith(PREFIX)})


def label_of(name: str) -> str:
    """`task piqa acc_norm` → `piqa acc_norm`."""
    return name.removeprefix(PREFIX)


def unit_of(name: str) -> Unit:
    """Accuracies are shares."""
    if name.endswith(QUESTIONS):
        return "count"
    return "share" if label_of(name).split(" ")[1].startswith(SHARES) else "number"


def lower_is_better(name: str) -> bool:
    """Perplexities and error rates."""
    metric = label_of(name).split(" ")[1]
    return metric in ERROR_RATES or any(word in metric for word in LOWER_IS_BETTER)
