"""What the console remembers of how it was left: words by name, in a JSON file in the state folder."""

import contextlib
import json
from pathlib import Path
from typing import TypeVar

Word = TypeVar("Word", bound=str)


class Remembered:
    """Reads once, writes at every change; a file that can't be read or written is no failure."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._words: dict[str, str] | None = None

    def word(self, name: str, usual: Word, known: tuple[Word, ...]) -> Word:
        """What was kept under `name`, if it is one of `known`; else `usual`."""
        found = self._read().get(name)
        return next((word for word in known if word == found), usual)

    def keep(self, name: str, word: str) -> None:
        words = self._read()
        words[name] = word
        unfinished = self._place.with_suffix(".partial")
        with contextlib.suppress(OSError):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(words, indent=1), encoding="utf-8")
            unfinished.replace(self._place)

    def _read(self) -> dict[str, str]:
        if self._words is None:
            self._words = {}
            with contextlib.suppress(OSError, ValueError):
                found = json.loads(self._place.read_text(encoding="utf-8"))
                if isinstance(found, dict):
                    self._words = {str(name): str(word) for name, word in found.items()}
        return self._words
