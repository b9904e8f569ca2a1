"""The ladder of group sizes and the rule that walks down it: pure arithmetic on measured ranges.

A reconstruction of FineQuant's idea (Kim, Henry, Fahim, Hassan Awadalla, "FineQuant: Unlocking Efficiency
with Fine-Grained Weight-Only Quantization for LLMs", 2023) from its published summaries, not from its code:
start at a base granularity and go finer only for the matrices whose range falls enough when their groups are
halved.

The rounding step of a group is proportional to its absmax, and the rounding noise to the step squared, so

    r(g) = mean over groups of absmax(g/2)² ÷ mean over groups of absmax(g)²

predicts by which factor the noise falls when groups of g are halved. Gaussian weights give about 0.75 to
0.9: a little is always gained, and paid for with twice the scales. Outliers that share a half give 0.25 to
0.6. While r(g) is under the threshold, the group is halved. From `channel` the next rung is no halving, so r
is taken per halving: the ratio of the means to the power 1 / log2(K / rung), which is the same number where
K = 2 · rung.

The rule looks one rung ahead only. Where both halves of every group of 64 hold outliers, but only one half
of every group of 32, r(64) is near 1 and r(32) near 0.5: the walk ends at 64 and never sees the gain.
Weighing every rung against its price is another mode's work.
"""

import math
from collections.abc import Sequence

import msgspec

from quantizer.scheme import group_word

RUNGS = (256, 128, 64, 32, 16)
FIXED_MODES: tuple[int | None, ...] = (None, *RUNGS)
DEFAULT_THRESHOLD = 0.7
CHANNEL = "channel"


class RangeProfile(msgspec.Struct, frozen=True):
    """Mean of absmax² over the groups of one matrix `[N, K]`, by group word, at every rung that divides K."""

    k: int
    rows: int
    means: dict[str, float]

    def fall(self, group: int | None, finer: int) -> float:
        """r from `group` down to `finer`, per halving; 1 for a matrix of zeros (nothing to gain)."""
        length = self.k if group is None else group
        halvings = math.log2(length / finer)
        mean = self.means[group_word(group)]
        if halvings <= 0 or mean == 0:
            return 1.0
        return float((self.means[str(finer)] / mean) ** (1 / halvings))


class Choice(msgspec.Struct, frozen=True):
    """What the rule decided for one fused set, and why."""

    group_size: int | None
    base: int | None  # where the walk began
    reason: str


def base_group(bits: int) -> int | None:
    """Where the walk begins: `channel` for int8, groups of 64 for int4 and int3."""
    return None if bits == 8 else 64


def adaptive_rungs(bits: int, base: int | None) -> tuple[int, ...]:
    """Rungs under `channel` that the adaptive rule may use.

    Groups of 16 pay for themselves in int3 only; with other bits they are there when the operator set that
    base.
    """
    finest = 16 if bits == 3 or base == 16 else 32
    return tuple(rung for rung in RUNGS if rung >= finest)


def dividing(rungs: Sequence[int], ks: Sequence[int]) -> tuple[int, ...]:
    """The rungs that divide every K of a set, coarse to fine."""
    return tuple(g for g in rungs if all(k % g == 0 for k in ks))


def start_rung(wanted: int | None, rungs: Sequence[int], ks: Sequence[int]) -> int | None:
    """`wanted`, or the largest rung under it that divides every K, or None (`channel`) where none does."""
    if wanted is None:
        return None
    return next((g for g in dividing(rungs, ks) if g <= wanted), None)


def next_rung(group: int | None, rungs: Sequence[int], ks: Sequence[int]) -> int | None:
    """The rung below `group` for a set with these K, or None at the bottom."""
    limit = min(ks) if group is None else group
    return next((g for g in dividing(rungs, ks) if g < limit), None)


def pooled_fall(profiles: Sequence[RangeProfile], group: int | None, finer: int) -> float:
    """r of a set: the mean of its matrices' r, weighted by their groups.

    The ratios are pooled and not the ranges, so that scaling one matrix up and its neighbour down, which
    changes nothing in the model, changes no decision.
    """
    weights = [p.rows * (1 if group is None else p.k // group) for p in profiles]
    total = sum(w * p.fall(group, finer) for w, p in zip(weights, profiles, strict=True))
    return total / sum(weights)


def choose_group(
    profiles: Sequence[RangeProfile], base: int | None, rungs: Sequence[int], threshold: float
) -> Choice:
    """Walk down from `base` while r of the set is under `threshold`; `profiles` are the set's matrices."""
    ks = tuple(p.k for p in profiles)
    start = start_rung(base, rungs, ks)
    walked = [start]
    falls: list[float] = []
    finer = next_rung(start, rungs, ks)
    while finer is not None:
        falls.append(pooled_fall(profiles, walked[-1], finer))
        if falls[-1] >= threshold:
            break
        walked.append(finer)
        finer = next_rung(finer, rungs, ks)
    return Choice(walked[-1], start, _reason(base, walked, falls, ks))


def statistic(profiles: Sequence[RangeProfile], rungs: Sequence[int]) -> dict[str, float]:
    """r(g) of one matrix or one stack (its experts pooled) by group word, where a rung lies under g."""
    ks = tuple(p.k for p in profiles)
    found: dict[str, float] = {}
    for group in (None, *(rung for rung in dividing(rungs, ks) if rung < min(ks))):
        finer = next_rung(group, rungs, ks)
        if finer is not None:
            found[group_word(group)] = round(pooled_fall(profiles, group, finer), 6)
    return found


def undivided(wanted: int | None, start: int | None, ks: Sequence[int]) -> str:
    """Why a set starts elsewhere than at the wanted group; empty where it does not."""
    if start == wanted:
        return ""
    widths = ", ".join(f"K={k}" for k in sorted(set(ks)))
    if start is None:
        return f"no group divides {widths}: channel"
    return f"{group_word(wanted)} does not divide {widths}: {start}"


def _reason(base: int | None, walked: Sequence[int | None], falls: Sequence[float], ks: Sequence[int]) -> str:
    """The decision in the operator's words; `falls` is r at each rung of the walk, a refused one last."""
    start, group = walked[0], walked[-1]
    parts = [undivided(base, start, ks)]
    if group != start:
        path = " → ".join(group_word(g) for g in walked)
        taken = ", ".join(
            f"r({group_word(g)})={fall:.2f}" for g, fall in zip(walked[:-1], falls, strict=False)
        )
        parts.append(f"range falls with groups of {group}: {path} ({taken})")
    elif falls:
        word = "base" if start == base else "group"
        parts.append(f"no outliers: {word} {group_word(group)} kept (r={falls[0]:.2f})")
    elif start == base:
        parts.append(f"{group_word(group)} has no finer rung")
    return "; ".join(part for part in parts if part)
