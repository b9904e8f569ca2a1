"""The six screens in the order of the work: the names, and which digit shows them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    name: str
    digit: int
    title: str


MODES = (
    Mode("models", 1, "Models"),
    Mode("fit", 2, "Fit"),
    Mode("quantize", 3, "Quantize"),
    Mode("session", 4, "Session"),
    Mode("runs", 5, "Runs"),
    Mode("gpus", 6, "GPUs"),
)
