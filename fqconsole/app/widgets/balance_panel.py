"""What was lost and what was won, a line or two each, named by words and not by colour alone."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from fqconsole.app import balance_view
from fqconsole.app.dialogue import Dialogue
from fqconsole.app.measurement import Measurement
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.wrapping import flowed

NAME = 6  # cells of "lost" and "won"


class Balance(Static):
    """`show` takes ready phrases and sets them side by side as the width allows."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._rows: tuple[tuple[str, tuple[str, ...], str], ...] = ()

    def show(self, lost: Sequence[str], won: Sequence[str]) -> None:
        rows = (("lost", tuple(lost), "$text-warning"), ("won", tuple(won), "$text-success"))
        if rows != self._rows:
            self._rows = rows
            self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        lines = []
        for name, phrases, colour in self._rows:
            for index, line in enumerate(flowed(phrases, self.size.width - NAME)):
                lines.append(
                    Content.assemble((f"{'' if index else name:<{NAME}}", f"bold {colour}"), Content(line))
                )
        self.update(Content("\n").join(lines))


class BalancePanel(Panel):
    """Appears once something was asked of a checkpoint whose original is known, or its loss was measured."""

    def compose(self) -> ComposeResult:
        yield Balance(id="session-balance-lines")

    def show_balance(self, measurement: Measurement | None, talk: Dialogue) -> None:
        if measurement is None or not measurement.possible:
            self.display = False
            return
        self.display = bool(talk.turns) or measurement.state != "none"
        mine, its = talk.latest("a"), talk.latest("b")
        reference = measurement.origin.reference_path
        if talk.other is None or talk.other.choice.path != reference:
            its = None
        lost, won = balance_view.balance(
            measurement,
            mine.result.decode_tok_s if mine and mine.result else None,
            its.result.decode_tok_s if its and its.result else None,
        )
        self.query_one(Balance).show(lost, won)
        self.border_subtitle = balance_view.source_words(measurement)
