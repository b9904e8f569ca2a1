"""A file of prompts, one JSON line each, and the lines of its answers."""

from pathlib import Path
from typing import Any

import msgspec

from fqconsole.errors import MALFORMED, UsageError


class PromptLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One prompt; `id` comes back with its answer. None: the line's number, from 1."""

    prompt: str
    id: str | int | None = None


def prompts_of(file: Path) -> list[PromptLine]:
    """The prompts of a JSONL file, empty lines left out. Raises UsageError naming the line."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.", "Check --prompts.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            one = msgspec.json.decode(line, type=PromptLine)
        except MALFORMED as error:
            raise UsageError(
                f"Line {number} of {file} is no prompt: {error}.",
                'Write one {"prompt": "..."} a line, with an "id" if you like.',
            ) from None
        if not one.prompt:
            raise UsageError(f"Line {number} of {file} has an empty prompt.", "Write some text there.")
        found.append(PromptLine(one.prompt, number if one.id is None else one.id))
    if not found:
        raise UsageError(f"{file} holds no prompts.", 'Write one {"prompt": "..."} a line.')
    return found


def answer_line(line: PromptLine, run_id: str, replica: int, **said: Any) -> dict[str, Any]:
    """What goes out for one prompt."""
    return {"id": line.id, "run_id": run_id, "replica": replica, **said}
