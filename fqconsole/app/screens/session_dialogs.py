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
from fqconsole.app.visible_text import one_line
from fqconsole.endpoints.address import KEY_VARIABLE, Address, parse_address
from fqconsole.errors import UsageError


class RenderedPrompt(Dialog):
    """What the model really reads."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,f3,q", "close", "close", show=False)]

    def __init__(self, title: str, note: str, text: Content) -> None:
        super().__init__()
        self._title, self._note, self._text = title, note, text

    def compose(self) -> ComposeResult:
        with Vertical(id="rendered") as box:
            box.border_title = Content(one_line(self._title))
            box.border_subtitle = "esc close"
            yield Static(self._note, classes="quiet", markup=False)
            with VerticalScroll():
                yield Static(self._text, id="rendered-text", markup=False)


class AddressOfServer(Dialog):
    """`use(address)` is called with where an OpenAI-compatible server answers."""

    def __init__(self, use: Callable[[Address], None]) -> None:
        super().__init__()
        self._use = use

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "A model that a server has"
            box.border_subtitle = "⏎ talk to it · esc cancel"
            yield Input(placeholder="http://127.0.0.1:8000/v1 or …/v1#model", id="server-address")
            yield Static(f"Its token: environment variable {KEY_VARIABLE}", classes="quiet", markup=False)
            yield Static("", id="server-address-problem", classes="bad", markup=False)

    @on(Input.Submitted)
    def _take(self, event: Input.Submitted) -> None:
        try:
            address = parse_address(event.value.strip())
        except UsageError as error:
            self.query_one("#server-address-problem", Static).update(sentence(error))
            return
        self.dismiss("use")
        self._use(address)


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
