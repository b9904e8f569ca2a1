"""What was lost and won, and how two models compare: a line or two each, named by words, not by colour."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from fqconsole.app import balance_view
from fqconsole.app.dialogue import Dialogue
from fqconsole.app.measurement import Measurement
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.wrapping import flowed

NAME = 7  # cells of the names


@dataclass(frozen=True)
class BalanceRow:
    """Phrases of one kind; `lines` is how many lines they may take."""

    name: str
    phrases: tuple[str, ...]
    colour: str = "$foreground 70%"
    lines: int = 3


class Balance(Static):
    """`show` takes ready phrases and sets them side by side as the width allows."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._rows: tuple[BalanceRow, ...] = ()

    def show(self, rows: Sequence[BalanceRow]) -> None:
        if tuple(rows) != self._rows:
            self._rows = tuple(rows)
            self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        lines = []
        for row in self._rows:
            for index, line in enumerate(flowed(row.phrases, self.size.width - NAME)[: row.lines]):
                name = f"{'' if index else row.name:<{NAME}}"
                lines.append(Content.assemble((name, f"bold {row.colour}"), Content(line)))
        self.update(Content("\n").join(lines))


class BalancePanel(Panel):
    """Appears once something was asked of a checkpoint whose original is known, or two answers stand beside
    each other.
    """

    def compose(self) -> ComposeResult:
        yield Balance(id="session-balance-lines")

    def show_balance(self, measurement: Measurement | None, talk: Dialogue, votes: Sequence[str]) -> None:
        """`votes` are the phrases of the blind votes on this pair."""
        rows = [] if talk.hidden else self._rows(measurement, talk, votes)
        self.display = bool(rows)
        if rows:
            self.query_one(Balance).show(rows)
            beside = any(row.name == "speed" for row in rows)
            known = measurement is not None and measurement.possible
            source = balance_view.source_words(measurement) if measurement and known else ""
            self.name_it(balance_view.title(talk, beside=beside), source)

    @staticmethod
    def _rows(measurement: Measurement | None, talk: Dialogue, votes: Sequence[str]) -> list[BalanceRow]:
        rows = [BalanceRow("votes", tuple(votes), lines=1)] if votes else []
        fast, small = balance_view.beside(talk)
        rows += [BalanceRow("speed", tuple(fast), lines=1)] if fast else []
        rows += [BalanceRow("size", tuple(small), lines=1)] if small else []
        if measurement is None or not measurement.possible:
            return rows
        if not talk.turns and measurement.state == "none":
            return rows
        mine, its = talk.latest("a"), talk.latest("b")
        if talk.other is None or talk.other.choice.path != measurement.origin.reference_path:
            its = None
        lost, won = balance_view.balance(
            measurement,
            mine.result.decode_tok_s if mine and mine.result else None,
            its.result.decode_tok_s if its and its.result else None,
            told=bool(fast),
        )
        rows += [BalanceRow("lost", tuple(lost), "$text-warning")] if lost else []
        rows += [BalanceRow("won", tuple(won), "$text-success")] if won else []
        return rows
