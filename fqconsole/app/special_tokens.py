"""The special tokens of a model, read from the files of its tokenizer, and where they stand in a text."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from textual.content import Content

from fqconsole.app.visible_text import visible

LARGEST = 64 * 2**20  # bytes of a tokenizer file that is looked into
STYLE = "bold reverse"


class _Token(msgspec.Struct):
    content: str = ""
    special: bool = False


class _Config(msgspec.Struct):
    """tokenizer_config.json; only what is needed is decoded."""

    added_tokens_decoder: dict[str, _Token] = {}


class _Tokenizer(msgspec.Struct):
    """tokenizer.json; the vocabulary is passed over."""

    added_tokens: list[_Token] = []


def special_tokens(folder: Path) -> frozenset[str]:
    """Texts of the special tokens; empty where the folder tells none. Reads files: not on the event loop."""
    found: set[str] = set()
    config = _read(folder / "tokenizer_config.json", _Config)
    if config is not None:
        found |= _special(config.added_tokens_decoder.values())
    if not found:
        tokenizer = _read(folder / "tokenizer.json", _Tokenizer)
        if tokenizer is not None:
            found |= _special(tokenizer.added_tokens)
    return frozenset(found)


def _special(tokens: Iterable[_Token]) -> set[str]:
    return {token.content for token in tokens if token.special and token.content}


def _read(file: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind) if file.stat().st_size <= LARGEST else None
    except (OSError, msgspec.MsgspecError):
        return None


def marked(rendered: str, tokens: Iterable[str]) -> Content:
    """A prompt as the model sees it, safe to draw: each special token between ⟦ and ⟧, and inverse."""
    words = sorted(tokens, key=len, reverse=True)
    if not words:
        return Content(visible(rendered))
    parts: list[Any] = []
    at = 0
    for match in re.finditer("|".join(map(re.escape, words)), rendered):
        parts += [visible(rendered[at : match.start()]), (f"⟦{visible(match[0])}⟧", STYLE)]
        at = match.end()
    return Content.assemble(*parts, visible(rendered[at:]))
