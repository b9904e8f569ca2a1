"""Where a prompt comes from: an option, standard input, a file of messages, or the model's own suggestion."""

import sys
from pathlib import Path

from fqconsole.errors import MALFORMED, UsageError

Messages = tuple[tuple[str, str], ...]
STDIN = "-"
ROLES = ("system", "user", "assistant")


def prompt_text(given: str | None, suggested: str | None) -> str:
    """The prompt as text; `-` reads standard input to its end. Raises UsageError where there is none."""
    if given == STDIN:
        text = _text(_all_of_stdin())
        if not text.strip():
            raise UsageError("Standard input held no prompt.", "Pipe some text into the command.")
        return text.removesuffix("\n")
    if given is not None:
        if not given:
            raise UsageError("The prompt is empty.", "Give some text after --prompt, or - to read stdin.")
        return _text(given)
    if suggested:
        return suggested
    raise UsageError(
        "There is no prompt.", "Give --prompt TEXT, --prompt - to read stdin, or --messages FILE."
    )


def _all_of_stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        return "\udcff"  # as an argument of such bytes comes to us


def _text(given: str) -> str:
    try:
        given.encode()
    except UnicodeEncodeError:
        raise UsageError("The prompt holds bytes that are no text.", "Write it as UTF-8.") from None
    return given


def messages_of(file: Path) -> Messages:
    """A conversation from a JSON file: a list of {"role": ..., "content": ...}. Raises UsageError."""
    import msgspec

    class Message(msgspec.Struct, forbid_unknown_fields=True):
        role: str
        content: str

    try:
        found = msgspec.json.decode(file.read_bytes(), type=list[Message])
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.", "Check --messages.") from None
    except MALFORMED as error:
        step = 'Write a list of {"role": "user", "content": "..."}.'
        raise UsageError(f"{file} holds no messages: {error}.", step) from None
    if not found:
        raise UsageError(f"{file} holds no messages.", "Write at least one.")
    for message in found:
        if message.role not in ROLES:
            raise UsageError(f"{file} names the role {message.role!r}.", f"Use {', '.join(ROLES)}.")
    return tuple((message.role, message.content) for message in found)


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer in `folder` comes with a chat template, by its files alone."""
    import msgspec

    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        config = msgspec.json.decode((folder / "tokenizer_config.json").read_bytes())
    except (OSError, *MALFORMED):
        return False
    return isinstance(config, dict) and bool(config.get("chat_template"))
