"""Two answers shown without their models' names, and what the votes on them come to."""

from dataclasses import dataclass
from math import comb
from typing import Literal

from fqconsole.app import formatting

Side = Literal["a", "b"]
Letter = Literal["X", "Y"]
Choice = Literal["first", "second", "tie", "neither"]
LETTERS: tuple[Letter, Letter] = ("X", "Y")


@dataclass
class BlindPair:
    """Which model is X in one turn. The names come with the vote, or when there can be none."""

    x: Side
    choice: Choice | None = None
    lifted: bool = False  # an answer failed or was stopped, or the operator wanted no more of it

    @property
    def hidden(self) -> bool:
        return self.choice is None and not self.lifted

    @property
    def sides(self) -> tuple[Side, Side]:
        """The models as they are shown, X first."""
        return (self.x, "b" if self.x == "a" else "a")

    def letter(self, side: Side) -> Letter:
        return "X" if side == self.x else "Y"

    def verdict(self, side: Side) -> str:
        """What the vote said of this model's answer, for its head."""
        if self.choice in ("first", "second"):
            return "your choice" if side == self.sides[self.choice == "second"] else ""
        return {"tie": "tie", "neither": "neither"}.get(self.choice or "", "")


def chance(first: int, second: int) -> float | None:
    """How often a coin would be at least as one-sided as `first` to `second` votes (two-sided sign test:
    the binomial tail at 1/2, doubled); None without such votes.
    """
    votes = first + second
    if not votes:
        return None
    ways = sum(comb(votes, hits) for hits in range(max(first, second), votes + 1))
    return min(1.0, 2 * ways / float(2**votes))


def tally_phrases(first: str, second: str, counts: tuple[int, int, int, int]) -> list[str]:
    """`demo int4 3 · demo 16-bit 1 · tie 2 · neither 0`, and whether that says anything."""
    mine, its, tie, neither = counts
    words = f"{first} {mine} · {second} {its} · tie {tie} · neither {neither}"
    part = chance(mine, its)
    return [words] if part is None else [words, f"as uneven by chance: {formatting.percent(part)}"]
