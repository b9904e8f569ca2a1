"""Numbers of runs in words and units, for comparisons and exports: GiB are binary, a minus sign is one."""

from datetime import datetime
from typing import Literal

Unit = Literal["bytes", "ms", "s", "tok/s", "share", "number", "perplexity", "count"]

KIB, MIB, GIB = 2**10, 2**20, 2**30
UNKNOWN = "—"


def show(value: float | None, unit: Unit) -> str:
    """A number with its unit, as short as it can be read."""
    if value is None:
        return UNKNOWN
    match unit:
        case "bytes":
            return show_bytes(value)
        case "ms":
            return f"{significant(value)} ms"
        case "s":
            return show_seconds(value)
        case "share":
            return f"{value * 100:.1f} %"
        case "count":
            return f"{value:,.0f}".replace(",", " ")
        case "number" | "tok/s":  # its label says tok/s
            return significant(value)
        case "perplexity" if value >= 999.95:
            return f"{value:.0f}"
        case "perplexity":  # four significant digits: quantizing often changes only the last one
            return f"{value:#.4g}"


def significant(value: float) -> str:
    """Three significant digits, never an exponent for numbers a table meets."""
    size = abs(value)
    if size >= 100 or size == 0:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.1:
        return f"{value:.2f}"
    return f"{value:.3g}" if size < 1e-4 else f"{value:.4f}"


def show_bytes(value: float) -> str:
    """GiB with one decimal, MiB and KiB for what is too small for that."""
    size = abs(value)
    for unit, word in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        # From a tenth of a GiB on it is told in GiB: one decimal is then still right.
        if size >= unit / (10 if unit == GIB else 1):
            return f"{value / unit:.1f} {word}"
    return f"{value:.0f} B"


def show_seconds(value: float) -> str:
    """1.2 s, 3 min 05 s, 2 h 10 min."""
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def show_change(change: float | None) -> str:
    """A relative change as a signed percentage; two decimals under one percent, none from ten on."""
    if change is None:
        return ""
    percent = change * 100
    digits = 0 if abs(percent) >= 10 else 1 if abs(percent) >= 1 else 2
    text = f"{percent:+.{digits}f} %".replace("-", "−")
    return "0 %" if float(f"{percent:.{digits}f}") == 0 else text


def show_time(t: float | None) -> str:
    """Local date and time to the minute."""
    return UNKNOWN if t is None else datetime.fromtimestamp(t).astimezone().strftime("%Y-%m-%d %H:%M")


def show_precision(bits: int | None, group: str | None) -> str:
    """int4 / 64, 16-bit."""
    if bits is None:
        return UNKNOWN
    return "16-bit" if bits == 16 else f"int{bits} / {group or UNKNOWN}"
