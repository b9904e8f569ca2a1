"""Numbers as the console writes them: GiB for memory, one decimal under 100, a dash for what is unknown."""

import math

GIB = 2**30
MIB = 2**20
KIB = 2**10
UNKNOWN = "—"


def gib(count: float | None) -> str:
    """Bytes as a bare number of GiB: `0.6`, `79.6`, `141`, and `0.03` because small models are not 0.0."""
    if count is None:
        return UNKNOWN
    value = count / GIB
    if value >= 99.95:
        return f"{value:.0f}"
    if 0 < value < 0.095:
        return f"{value:.2f}" if value >= 0.005 else "<0.01"
    return f"{value:.1f}"


def memory(count: float | None) -> str:
    """Bytes with their unit: `7.7 GiB`; MiB and KiB where it is less: demo models are small."""
    if count is None:
        return UNKNOWN
    if count >= GIB * 0.9995:
        return f"{gib(count)} GiB"
    size, unit = (MIB, "MiB") if count >= MIB * 0.9995 else (KIB, "KiB")
    value = count / size
    return f"{value:.0f} {unit}" if value >= 99.95 or count == 0 else f"{value:.1f} {unit}"


def parameters(count: int | None) -> str:
    """A number of weights: `8.2B`, `6.3M`, `512k`."""
    if count is None:
        return UNKNOWN
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size * 0.9995:
            return f"{count / size:.1f}{letter}"
    return str(count)


def tokens(count: int | None) -> str:
    """A number of tokens with groups of three digits: `8,192`."""
    return UNKNOWN if count is None else f"{count:,}"


def context(count: int | None) -> str:
    """A context length for a narrow column: `40k`, `128k`, `512`."""
    if count is None:
        return UNKNOWN
    return f"{count // 1024}k" if count >= 1024 else str(count)


def duration(seconds: float | None) -> str:
    """`00:09`, `02:41`, `1:02:41`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    whole = max(0, int(seconds + 0.5))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes:02}:{left:02}"


def took(seconds: float | None) -> str:
    """How long something took: `0.4 s`, `22 s`, and minutes from one minute on."""
    if seconds is None or seconds >= 59.5:
        return duration(seconds)
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"


def signed_percent(ratio: float | None) -> str:
    """A ratio as a change: 1.02 is `+2.0 %`, 0.9 is `−10.0 %`."""
    if ratio is None or not math.isfinite(ratio):
        return UNKNOWN
    change = (ratio - 1) * 100
    return f"{'−' if change < 0 else '+'}{abs(change):.1f} %"


def percent(fraction: float | None) -> str:
    """A fraction as whole percent: `64%`; rounded down, so that 100% means done."""
    return UNKNOWN if fraction is None else f"{int(fraction * 100)}%"


def share(part: float | None) -> str:
    """A small share in percent with three digits that say something: `1.04 %`, `0.067 %`, `12.3 %`."""
    if part is None:
        return UNKNOWN
    value = part * 100
    if value >= 9.95:
        return f"{value:.1f} %"
    return f"{value:.2f} %" if value >= 0.0995 or value == 0 else f"{value:.2g} %"


def error(value: float | None) -> str:
    """A relative error: `.0433`, `1.20`."""
    if value is None:
        return UNKNOWN
    return f"{value:.2f}" if value >= 1 else f"{value:.4f}".removeprefix("0")


def precision(bits: int) -> str:
    """How a precision is called: `16-bit`, `int4`."""
    return "16-bit" if bits == 16 else f"int{bits}"


def group(group_size: int | None) -> str:
    """A group size, or the word for one scale a row."""
    return "channel" if group_size is None else str(group_size)
