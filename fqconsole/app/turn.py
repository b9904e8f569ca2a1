"""One prompt and what each model made of it."""

from dataclasses import dataclass, field

from fqconsole.app.answer import Answer
from fqconsole.app.blind import BlindPair, Side
from fqconsole.app.word_diff import Span, WordDiff, word_diff


@dataclass
class Turn:
    """Its answers stand in the order in which they were asked for."""

    prompt: str
    answers: dict[Side, Answer] = field(default_factory=dict)
    blind: BlindPair | None = None
    _diff: WordDiff | None = field(default=None, repr=False)

    @property
    def open(self) -> bool:
        return any(not answer.over for answer in self.answers.values())

    @property
    def hidden(self) -> bool:
        """Which model is which must not be seen yet."""
        return self.blind is not None and self.blind.hidden

    @property
    def whole(self) -> bool:
        """Both answers were written to their end."""
        return len(self.answers) == 2 and all(answer.status == "done" for answer in self.answers.values())

    @property
    def sides(self) -> tuple[Side, Side]:
        """The models in the order in which they are shown."""
        return self.blind.sides if self.blind else ("a", "b")

    @property
    def diff(self) -> WordDiff | None:
        """Where the two answers part, as they are shown; None until both are whole."""
        if self._diff is None and self.whole:
            first, second = (self.answers[side].shown for side in self.sides)
            self._diff = word_diff(first, second)
        return self._diff

    def marks(self, side: Side) -> tuple[Span, ...]:
        """The stretches of one answer that the other does not have."""
        diff = self.diff
        if diff is None:
            return ()
        return diff.first if side == self.sides[0] else diff.second
