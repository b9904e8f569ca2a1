"""What the threads of the Models screen find, as messages to it."""

from typing import Any

from textual.message import Message

from fqconsole.app.model_rows import ModelRow
from fqconsole.models.description import ModelEntry


class ModelsListed(Message):
    """The models were looked for; a `problem` says why they can't be listed."""

    def __init__(self, entries: list[ModelEntry], problem: str = "") -> None:
        super().__init__()
        self.entries = entries
        self.problem = problem


class ModelRead(Message):
    """One model was described, or is unusable; its fit was computed. `asked`: it was typed, not listed."""

    def __init__(self, row: ModelRow, *, asked: bool = False) -> None:
        super().__init__()
        self.row = row
        self.asked = asked


class ConfigOpened(Message):
    """A config.json was read; a worker must make its shapes."""

    def __init__(self, word: str, config: Any) -> None:
        super().__init__()
        self.word = word
        self.config = config
