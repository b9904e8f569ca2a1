"""The text a model is judged on."""

from pathlib import Path

from fqconsole.errors import UsageError


def read_text(path: Path) -> str:
    """The UTF-8 text in `path`. Raises UsageError when it can't be read, is no text, or is empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text: byte {error.start} can't be decoded.",
            "Name a text file, or convert this one.",
        ) from error
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.", "Name a text file.") from error
    if not text.strip():
        raise UsageError(f"{path} holds no text.", "Name a file with at least a few sentences.")
    return text
