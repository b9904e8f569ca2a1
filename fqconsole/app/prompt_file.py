"""A prompt that lies in a file, and the file that a typed path may mean."""

from pathlib import Path

from fqconsole.errors import OperatorError

LARGEST = 2**18  # bytes: what the prompt field takes in at once


def read_prompt(typed: str) -> str:
    """The text of a file without its last line break. Raises OperatorError where there is none to be had."""
    file = Path(typed.strip()).expanduser()
    try:
        size = file.stat().st_size
        if file.is_dir():
            raise OperatorError(f"{file} is a folder.", "Name a text file.")
        if size > LARGEST:
            raise OperatorError(
                f"{file} has {size:,} bytes; a prompt may have {LARGEST:,}.", "Name a smaller file."
            )
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise OperatorError(f"{file} is no UTF-8 text.", "Name a text file.") from error
    except OSError as error:
        raise OperatorError(f"{file} can't be read: {error.strerror}.", "Check the path.") from error
    if not text.strip():
        raise OperatorError(f"{file} is empty.", "Name a file with a prompt.")
    return text.replace("\r\n", "\n").removesuffix("\n")


def completed_path(typed: str) -> str | None:
    """The first path that begins as typed, a folder with its slash; None where there is none."""
    if not typed:
        return None
    folder, _, start = typed.rpartition("/")
    place = Path(f"{folder}/" if folder or typed.startswith("/") else ".").expanduser()
    try:
        names = sorted(
            f"{item.name}/" if item.is_dir() else item.name
            for item in place.iterdir()
            if item.name.startswith(start) and (start or not item.name.startswith("."))
        )
    except OSError:
        return None
    return typed.removesuffix(start) + names[0] if names and names[0] != start else None
