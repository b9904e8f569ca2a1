"""Small screens of a session: the prompt as the model sees it, and a prompt from a file."""

import asyncio
from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.suggester import Suggester
from textual.widgets import Input, Static

from fqconsole.app.prompt_file import completed_path, read_prompt
from fqconsole.app.screens.dialogs import Dialog
from fqconsole.app.store_thread import sentence


class RenderedPrompt(Dialog):
    """What the model really reads."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,f3,q", "close", "close", show=False)]

    def __init__(self, title: str, note: str, text: Content) -> None:
        super().__init__()
        self._title, self._note, self._text = title, note, text

    def compose(self) -> ComposeResult:
        with Vertical(id="rendered") as box:
            box.border_title = self._title
            box.border_subtitle = "esc close"
            yield Static(self._note, classes="quiet", markup=False)
            with VerticalScroll():
                yield Static(self._text, id="rendered-text", markup=False)


class PathSuggester(Suggester):
    """Completes a path; the right arrow takes what is shown."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        return await asyncio.to_thread(completed_path, value)


class PromptFromFile(Dialog):
    """`use(text)` is called with the text of the file."""

    def __init__(self, use: Callable[[str], None]) -> None:
        super().__init__()
        self._use = use

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Prompt from a file"
            box.border_subtitle = "⏎ read · → complete · esc cancel"
            yield Input(placeholder="path of a text file", id="prompt-path", suggester=PathSuggester())
            yield Static("", id="prompt-path-problem", classes="bad", markup=False)

    @on(Input.Submitted)
    async def _read(self, event: Input.Submitted) -> None:
        try:
            text = await asyncio.to_thread(read_prompt, event.value)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file is a sentence
            self.query_one("#prompt-path-problem", Static).update(sentence(error))
            return
        self.dismiss("use")
        self._use(text)
