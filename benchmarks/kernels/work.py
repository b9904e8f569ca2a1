"""What every measurement is given: where it runs, how it is timed, and the record it writes to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from benchmarks.kernels.points import Record
from benchmarks.kernels.timing import Budget, microseconds_of

DTYPE_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16"}
TOLERANCES = {torch.float16: 5e-4, torch.bfloat16: 4e-3}  # of ours; float32 accumulates, x's dtype rounds
LONGEST_SENTENCE = 160


@dataclass(frozen=True)
class Work:
    """One run. `time` gives the microseconds of one of several calls that take turns."""

    record: Record
    budget: Budget
    rows: tuple[int, ...]
    device: str = "cuda"
    time: Callable[[Sequence[Callable[[], object]]], float] = microseconds_of

    def note(self, words: str) -> None:
        """What was left out or failed, once."""
        if words not in self.record.notes:
            self.record.notes.append(words)

    def failed(self, what: str, problem: BaseException) -> None:
        """A failure becomes a note: what else there is to measure goes on."""
        self.note(f"{what} failed: {sentence_of(problem)}")


def sentence_of(problem: BaseException) -> str:
    """An exception in one line, with its class; long ones are cut."""
    text = " ".join(str(problem).split())
    name = type(problem).__name__
    return f"{name}: {text[:LONGEST_SENTENCE]}" if text else name
