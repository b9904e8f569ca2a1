"""Numbers as people read them: binary sizes that say so, counts, times; a dash for what is not known."""

UNKNOWN = "—"
GIB = 2**30
MIB = 2**20
KIB = 2**10


def size(count: float | None) -> str:
    """Bytes as GiB with one decimal under 100; small things in MiB, KiB or B, so that nothing reads 0.0."""
    if count is None:
        return UNKNOWN
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= 0.1 * unit:
            number = count / unit
            return f"{number:.1f} {name}" if number < 100 else f"{number:.0f} {name}"
    return f"{count:.0f} B"


def parameters(count: int | None) -> str:
    """Weights of a model: 70.6B, 8.2B, 3.4M."""
    if count is None:
        return UNKNOWN
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            return f"{count / unit:.1f}{name}"
    return str(count)


def duration(seconds: float | None) -> str:
    """Seconds as 4.2 s, 02:41 or 1:02:41."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def number(value: float | None, digits: int = 4) -> str:
    """A measured value with `digits` significant figures, never cut off before the point."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f}" if abs(value) >= 10.0 ** (digits - 1) else f"{value:#.{digits}g}"


def speed(tokens_per_second: float | None) -> str:
    """Tokens per second, without the unit."""
    if tokens_per_second is None:
        return UNKNOWN
    return f"{tokens_per_second:.1f}" if tokens_per_second < 100 else f"{tokens_per_second:.0f}"


def precision(bits: int) -> str:
    """16 is "16-bit", the others int8, int4, int3."""
    return "16-bit" if bits == 16 else f"int{bits}"


def group(group_size: int | None) -> str:
    """A group size in the field's word: None is `channel`."""
    return "channel" if group_size is None else str(group_size)
