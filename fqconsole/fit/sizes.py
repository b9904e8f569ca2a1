"""Bytes in words: GiB with one decimal, smaller units where GiB would read 0.0."""

UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def size(count: int) -> str:
    """`7.7 GiB`, `479.0 MiB`, `3.2 KiB`, `12 B`."""
    for unit, name in UNITS:
        if abs(count) >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count} B"
