"""Where a command's words go: results to stdout, narration to stderr."""

import os
import sys
from dataclasses import dataclass
from typing import Any, TextIO

from fqconsole.cli.escaping import safe_json, visible
from fqconsole.errors import UsageError


class ReaderGone(BaseException):
    """Whoever read our stdout has closed it (`| head`): nothing is left to do, and nothing to say."""


def write(stream: TextIO, text: str) -> None:
    """Write and flush. A closed stdout raises ReaderGone; a closed stderr is no reason to stop."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # Whatever is still buffered would raise once more when the interpreter closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if stream is sys.stdout:
            raise ReaderGone from None


@dataclass(frozen=True)
class Output:
    """How a command speaks: `json` and `events` give stdout to a program, `quiet` ends the narration."""

    json: bool = False
    quiet: bool = False
    events: bool = False

    def __post_init__(self) -> None:
        if self.json and self.events:
            raise UsageError("--json and --events both want stdout.", "Give one of them.")

    @property
    def data_only(self) -> bool:
        """True where stdout belongs to a program, so that nothing else may be printed there."""
        return self.json or self.events

    def result(self, document: Any, *, lines: bool = False) -> None:
        """One JSON document, of structs and dataclasses too; NaN becomes null. `lines`: all on one line."""
        import msgspec

        text = msgspec.json.encode(document, enc_hook=str)
        if not lines:
            text = msgspec.json.format(text, indent=2)
        write(sys.stdout, safe_json(text.decode()) + "\n")

    def line(self, text: str = "") -> None:
        """One line (or block) for people."""
        write(sys.stdout, visible(text) + "\n")

    def stream(self, text: str) -> None:
        """Generated text as it comes, with no newline added: escaped for a terminal, as it is for a file."""
        write(sys.stdout, visible(text) if sys.stdout.isatty() else text)

    def say(self, text: str) -> None:
        """One line of narration."""
        if not self.quiet:
            write(sys.stderr, visible(text) + "\n")


def complain(text: str) -> None:
    """The one line of a command that failed; --quiet does not silence it."""
    write(sys.stderr, visible(f"fqconsole: {text}") + "\n")
