"""Numbers as they are typed on a command line."""

from collections.abc import Sequence

from fqconsole.errors import UsageError

GROUP_SIZES = (256, 128, 64, 32, 16)


def numbers(text: str, option: str, *, allowed: Sequence[int] = ()) -> tuple[int, ...]:
    """ "16,8,4" as numbers, in the order given, each once. Raises UsageError naming `option`."""
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        if not part.isdecimal() or int(part) < 1 or (allowed and int(part) not in allowed):
            choice = f"one or more of {', '.join(map(str, allowed))}" if allowed else "whole numbers above 0"
            raise UsageError(f"{option} {text!r} can't be read.", f"Give {choice}, separated by commas.")
        if int(part) not in found:
            found.append(int(part))
    return tuple(found)


def group_size_of(text: str) -> int | None:
    """ "channel" is None, "64" is 64. Raises UsageError for another word or size."""
    if text == "channel":
        return None
    if text.isdecimal() and int(text) in GROUP_SIZES:
        return int(text)
    choices = ", ".join(("channel", *map(str, GROUP_SIZES)))
    raise UsageError(f"--group-size {text!r} is not one of {choices}.", "Give one of them.")
