"""How far two measured means may lie apart by chance alone: half the width of a 95 % interval.

Repeats on both sides: Welch's interval, t(ν) √(s²/n + s₀²/n₀), ν by Welch and Satterthwaite (Welch 1947).
Repeats on one side, one value on the other: where a single new value may fall, t(n−1) s √(1 + 1/n).
One value on each side says nothing of chance: times and speeds then count as equal within 5 %, everything
else (sizes, errors, perplexity on the same text) comes out the same each time and counts exactly.
"""

import math

from store.samples import Sample

SINGLE_TIMING = 0.05  # of the larger of two times or speeds that were measured once each
# Two-sided 95 % quantiles of Student's t for 1 … 30 degrees of freedom.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def quantile(freedom: float) -> float:
    """Student's t, two-sided 95 %; `freedom` ≥ 1 is rounded down, to the safe side."""
    whole = max(1, math.floor(min(freedom, 1e9)))
    # Beyond the table the first term of the expansion about the normal quantile is right to 0.001.
    return _T[whole - 1] if whole <= len(_T) else 1.95996 + 2.3722 / whole


def margin(one: Sample, other: Sample, *, timing: bool) -> float:
    """The difference of the means that chance explains, in the unit of the samples."""
    if one.spread is not None and other.spread is not None:
        return _welch(_error(one), one.n, _error(other), other.n)
    repeated = one if one.spread is not None else other
    if repeated.spread is None:
        return SINGLE_TIMING * max(abs(one.mean), abs(other.mean)) if timing else 0.0
    single = repeated.spread if not repeated.of_mean else 0.0  # a score beside which no error is told
    return quantile(repeated.n - 1) * math.hypot(single, _error(repeated))


def _error(sample: Sample) -> float:
    """The standard error of the mean."""
    spread = sample.spread or 0.0
    return spread if sample.of_mean else spread / math.sqrt(sample.n)


def _welch(error: float, n: int, other: float, m: int) -> float:
    """In units of the larger error: squares of squares of very small ones would vanish."""
    most = max(error, other)
    if most == 0:
        return 0.0
    a, b = (error / most) ** 2, (other / most) ** 2
    freedom = (a + b) ** 2 / (a**2 / max(1, n - 1) + b**2 / max(1, m - 1))
    return quantile(freedom) * math.sqrt(a + b) * most
