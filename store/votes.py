"""Blind votes: which of two answers to one prompt a reader preferred, not knowing which model wrote it."""

import time
from typing import Literal

import msgspec

from store.database import Database
from store.errors import StoreError
from store.run_ids import to_word

Choice = Literal["first", "second", "tie", "neither"]
CHOICES = ("first", "second", "tie", "neither")


class VoteRow(msgspec.Struct, frozen=True):
    """One vote as a run of the pair sees it."""

    other: str  # the run that stood beside it
    shown_as: Literal["X", "Y"]  # X was the first
    outcome: Literal["better", "worse", "tie", "neither"]  # of this run against the other
    voted: float  # seconds since the epoch

    @property
    def words(self) -> str:
        """`better than r0003 (blind, shown as X)`."""
        told = {
            "better": f"better than {self.other}",
            "worse": f"worse than {self.other}",
            "tie": f"as good as {self.other}",
            "neither": f"no good, nor was {self.other}",
        }
        return f"{told[self.outcome]} (blind, shown as {self.shown_as})"


class Tally(msgspec.Struct, frozen=True):
    """All votes between two models, however they were shown."""

    first: int = 0  # the first model was preferred
    second: int = 0
    tie: int = 0
    neither: int = 0

    @property
    def votes(self) -> int:
        return self.first + self.second + self.tie + self.neither


def add_vote(database: Database, first: int, second: int, choice: str, voted: float | None) -> None:
    """Keep a vote on two runs, in the order in which they were shown; a second one replaces it.

    Raises StoreError for another word than those of CHOICES, and for a run beside itself.
    """
    if choice not in CHOICES:
        raise StoreError(f"“{choice}” is no vote.", f"Use one of {', '.join(CHOICES)}.")
    if first == second:
        raise StoreError("A vote is on two runs.", "Name two different ones.")
    with database.writing() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO votes (first_run, second_run, choice, voted) VALUES (?, ?, ?, ?)",
            (first, second, choice, time.time() if voted is None else voted),
        )


def votes_of(database: Database, number: int) -> tuple[VoteRow, ...]:
    """The votes that a run was part of, oldest first."""
    rows = database.rows(
        "SELECT * FROM votes WHERE first_run = ? OR second_run = ? ORDER BY voted", (number, number)
    )
    found = []
    for row in rows:
        shown_first = row["first_run"] == number
        outcome = row["choice"]
        if outcome in ("first", "second"):
            outcome = "better" if (outcome == "first") == shown_first else "worse"
        found.append(
            VoteRow(
                other=to_word(row["second_run"] if shown_first else row["first_run"]),
                shown_as="X" if shown_first else "Y",
                outcome=outcome,
                voted=row["voted"],
            )
        )
    return tuple(found)


def tally(database: Database, first: str, second: str) -> Tally:
    """The votes between two models, each named by its folder (or by its model where it has none)."""
    rows = database.rows(
        """SELECT choice, coalesce(a.path, a.model) AS first_model, count(*) AS many
           FROM votes JOIN runs a ON a.id = first_run JOIN runs b ON b.id = second_run
           WHERE (coalesce(a.path, a.model) = :first AND coalesce(b.path, b.model) = :second)
              OR (coalesce(a.path, a.model) = :second AND coalesce(b.path, b.model) = :first)
           GROUP BY choice, first_model""",
        {"first": first, "second": second},
    )
    counts = dict.fromkeys(CHOICES, 0)
    turned = {"first": "second", "second": "first"}
    for row in rows:
        choice = row["choice"]
        counts[choice if row["first_model"] == first else turned.get(choice, choice)] += row["many"]
    return Tally(**counts)
