"""Files that may hold prompts and answers: their owner alone reads them, whatever the umask says."""

import os
from pathlib import Path


def owners_alone(path: str, flags: int) -> int:
    """The `opener` of `open`. A file that exists keeps the rights that its owner gave it."""
    return os.open(path, flags, 0o600)


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path`, new or again. Raises OSError."""
    with open(path, "w", encoding="utf-8", opener=owners_alone) as file:
        file.write(text)


def write_new_private(folder: Path, stem: str, ending: str, text: str) -> Path:
    """A new file in `folder`, made where it is missing, under a name that is not taken. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    number = 1
    while True:
        path = folder / f"{stem}{f'-{number}' if number > 1 else ''}{ending}"
        try:
            with open(path, "x", encoding="utf-8", opener=owners_alone) as file:
                file.write(text)
        except FileExistsError:
            number += 1
        else:
            return path
