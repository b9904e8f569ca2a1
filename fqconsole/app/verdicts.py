"""What the memory preview says, in a few cells: a sign, a precision and a share of the memory."""

from dataclasses import dataclass
from typing import Any

from fqconsole.app import formatting

SIGNS = {"fits": "✓", "tight": "!", "does not fit": "✗"}
COLOURS = {"fits": "$text-success", "tight": "$text-warning", "does not fit": "$text-error"}
STYLES = {"fits": "ok", "tight": "tight", "does not fit": "bad"}


@dataclass(frozen=True)
class BestFit:
    """The widest precision that fits one device, or the narrowest one where none does."""

    bits: int
    verdict: str
    share: float  # of the device's memory

    @property
    def text(self) -> str:
        return f"{SIGNS[self.verdict]} {formatting.precision(self.bits):<6} {round(self.share * 100):>4} %"

    @property
    def style(self) -> str:
        return STYLES[self.verdict]


def share(option: Any) -> float:
    """Needed over available bytes of one device."""
    return option.total_bytes_per_gpu / option.capacity_bytes if option.capacity_bytes else float("inf")


def best_fit(preview: Any, gpus: int = 1) -> BestFit | None:
    """The best option on `gpus` devices: fitting before tight, wide first; None when there is none."""
    options = [option for option in preview.options if option.gpus == gpus]
    if not options:
        return None
    for wanted in ("fits", "tight"):
        fitting = [option for option in options if option.verdict == wanted]
        if fitting:
            best = max(fitting, key=lambda option: option.bits)
            return BestFit(best.bits, best.verdict, share(best))
    narrowest = min(options, key=lambda option: option.bits)
    return BestFit(narrowest.bits, narrowest.verdict, share(narrowest))
