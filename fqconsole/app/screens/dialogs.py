"""Small modal screens: a question, the help, the log drawer, the jump list."""

import functools
import textwrap
import time
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Button, Log, OptionList, Static

from fqconsole.app.actions import Action
from fqconsole.app.job_log import KEPT
from fqconsole.app.job_runner import JobRunner
from fqconsole.app.visible_text import one_line

AT_ONCE = 300  # lines that the log drawer draws at a time, four times a second: nobody reads more
PALETTE = "in ^p"  # where an action without a key is found


class Dialog(ModalScreen[str]):
    """Closes with Esc, answering the empty string."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "close", show=False)]

    def action_close(self) -> None:
        self.dismiss("")


class Question(Dialog):
    """A question with two answers; the safe one has the focus and is what Esc says."""

    def __init__(self, title: str, text: str, *, safe: str, go: str) -> None:
        super().__init__()
        self._title, self._text, self._safe, self._go = title, text, safe, go

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(one_line(self._title))
            yield Static(self._text, markup=False)
            with Horizontal(classes="buttons"):
                yield Button(self._safe, id="safe")
                yield Button(self._go, id="go", variant="error")

    def on_mount(self) -> None:
        self.query_one("#safe", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss("go" if event.button.id == "go" else "")

    def on_key(self, event: Key) -> None:
        if event.key in ("left", "right"):
            self.focus_next()


class Explanation(Dialog):
    """Lines of text to read: Esc closes."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,e,enter,q", "close", "close", show=False)]

    def __init__(self, title: str, lines: list[str]) -> None:
        super().__init__()
        self._title, self._lines = title, lines

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(one_line(self._title))
            box.border_subtitle = "esc close"
            with VerticalScroll():
                yield Static("\n".join(self._lines), markup=False)


class PickOne(Dialog):
    """A list of names; Enter answers the one under the cursor."""

    def __init__(self, title: str, names: list[str]) -> None:
        super().__init__()
        self._title, self._names = title, names

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(one_line(self._title))
            box.border_subtitle = "⏎ choose · esc close"
            yield OptionList(*self._names, markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])


class HelpDialog(Dialog):
    """The help of the panel in focus, then the keys of this screen and those of every screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q,question_mark", "close", "close", show=False)
    ]

    def __init__(self, title: str, text: str, groups: list[tuple[str, tuple[Action, ...]]]) -> None:
        super().__init__()
        self._title, self._text, self._groups = title, text, groups

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f"Help · {one_line(self._title)}")
            box.border_subtitle = "esc close"
            with VerticalScroll():
                yield Static(self._text, markup=False)
                for name, actions in self._groups:
                    if actions:
                        yield Static(Content.assemble(("\n" + name, "bold")))
                        yield Static(self._lines(actions))

    @staticmethod
    def _lines(actions: tuple[Action, ...]) -> Content:
        return Content("\n").join(
            [
                Content.assemble(
                    (f"{item.all_keys or PALETTE:>12}", "bold $accent"), _indented(item.description)
                )
                for item in actions
            ]
        )


def _indented(description: str) -> str:
    """Behind the keys, and further lines below the first."""
    return "\n".join(textwrap.wrap(description, 56, initial_indent="  ", subsequent_indent=" " * 14))


class LogDrawer(Dialog):
    """What the jobs of this console have said, and where the full logs lie."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f8,q", "close", "close", show=False)]

    def __init__(self, jobs: JobRunner, place: str) -> None:
        super().__init__()
        self._jobs = jobs
        self._place = place
        self._shown = 0

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Log"
            box.border_subtitle = f"full logs in {self._place} · esc close"
            yield Log(max_lines=KEPT)

    def on_mount(self) -> None:
        self.call_after_refresh(self._read)  # lines are wrapped at the width that the layout gives
        self.set_interval(0.25, self._read)

    def _read(self) -> None:
        log, said = self.query_one(Log), self._jobs.log
        new = said.since(self._shown)[-AT_ONCE:]
        left_out = said.count - self._shown - len(new)
        self._shown = said.count
        if left_out > 0:
            log.write_line(f"… {left_out:,} lines are only in the full log")
        if new:
            width = log.outer_size.width - log.styles.scrollbar_size_vertical
            log.write_lines([part for line in new for part in wrapped(log_line(*line), width)])
        elif not said.count and not log.lines:
            log.write_line("Nothing has been logged yet. Jobs write here while they run.")


def log_line(t: float, level: str, text: str) -> str:
    """One line of a log, readable aloud: time of day, the level where it is not information, the text."""
    word = "" if level == "info" else f"{level}: "
    return f"{_time_of_day(int(t))} {word}{text}"


@functools.lru_cache(maxsize=8)
def _time_of_day(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))


def wrapped(line: str, width: int) -> list[str]:
    """A line of the log on as many lines as it needs, the later ones indented behind the time."""
    if width < 20 or len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=" " * 9, break_on_hyphens=False)


class JumpDialog(Dialog):
    """Letters for the panels of this screen, digits for the screens: one key jumps."""

    def __init__(self, panels: list[tuple[str, str, str]], screens: list[tuple[str, str]]) -> None:
        super().__init__()
        self._targets = {letter: f"panel:{widget_id}" for letter, _title, widget_id in panels}
        self._targets |= {digit: f"screen:{name.lower()}" for digit, name in screens}
        self._lines = [f"{letter}  {title}" for letter, title, _id in panels]
        self._lines += [f"{digit}  {name}" for digit, name in screens]

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Jump to"
            box.border_subtitle = "esc close"
            yield Static("\n".join(self._lines))

    def on_key(self, event: Key) -> None:
        target = self._targets.get(event.key)
        if target:
            event.stop()
            self.dismiss(target)
