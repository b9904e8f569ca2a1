"""The part of the Session screen that is about answers that stand there: copy, save, look closer."""

import asyncio
from pathlib import Path

from textual import work

from fqconsole.app import session_view
from fqconsole.app.dialogue import Dialogue
from fqconsole.app.dialogue_export import dialogue_markdown, write_dialogue
from fqconsole.app.screens.dialogs import Explanation
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.screens.session_dialogs import RenderedPrompt
from fqconsole.app.special_tokens import marked, special_tokens
from fqconsole.app.store_thread import sentence
from fqconsole.app.visible_text import visible
from fqconsole.app.widgets.session_panel import SessionPanel
from fqconsole.endpoints.address import is_address
from fqconsole.models.description import ModelEntry


class AnswersScreen(ModeScreen):
    """Knows the dialogue; `show_all` draws everything again."""

    def __init__(self) -> None:
        super().__init__()
        self._dialogue: Dialogue | None = None

    @property
    def _talk(self) -> Dialogue:
        assert self._dialogue is not None  # noqa: S101 - made when the screen was
        return self._dialogue

    def show_all(self) -> None:
        """Draw everything again."""
        raise NotImplementedError

    def action_copy(self) -> None:
        answer = next((a for t in reversed(self._talk.turns) for a in t.answers.values() if a.text), None)
        if answer is not None:
            self.console.copy_to_clipboard(visible(answer.text))
            self.notify("The answer is in the clipboard.")

    def action_raw(self) -> None:
        panel = self.query_one(SessionPanel)
        panel.markdown = not panel.markdown
        self.show_all()
        self.notify(
            "Answers are drawn as Markdown." if panel.markdown else "Answers stand as they are written."
        )

    @work(group="session-save", exit_on_error=False)
    async def action_save(self) -> None:
        talk, now = self._talk, self.console.services.clock()
        if not talk.turns or talk.hidden:
            self.notify("Vote first." if talk.hidden else "There is nothing to save yet: send a prompt.")
            return
        text = dialogue_markdown(talk, now=now)
        try:
            file = await self.console.store.call(
                lambda store: write_dialogue(text, Path(store.path).parent / "exports", now=now)
            )
        except Exception as error:  # noqa: BLE001 - a full disk is a sentence
            self.notify(f"The dialogue is not saved: {sentence(error)}", severity="error", markup=False)
        else:
            self.notify(f"wrote {file}", title="The dialogue is saved", timeout=10, markup=False)

    @work(group="session-serving", exit_on_error=False)
    async def action_serve_elsewhere(self) -> None:
        from fqconsole.app.serving_view import serving_lines  # seldom wanted

        main, console = self._talk.main, self.console
        if main is None or is_address(main.choice.path):
            self.notify("Load a checkpoint first; then its command for vLLM and SGLang stands here.")
            return
        choice = main.choice
        try:
            about = await asyncio.to_thread(
                console.services.describe, ModelEntry(choice.path, "folder", choice.path)
            )
            gpus = console.workspace.choice.gpus
            lines = await asyncio.to_thread(serving_lines, about, gpus, choice.context)
        except Exception as error:  # noqa: BLE001 - an unreadable folder is a sentence
            self.notify(sentence(error), severity="error", markup=False)
        else:
            console.push_screen(Explanation("Served elsewhere", lines))

    @work(group="session-rendered", exit_on_error=False)
    async def action_rendered(self) -> None:
        talk = self._talk
        started = [(side, a.started) for t in talk.turns for side, a in t.answers.items() if a.started]
        if not started or talk.hidden:
            self.notify(
                "Vote first." if talk.hidden else "Send a prompt first; then F3 shows how it was seen."
            )
            return
        side, event = started[-1]
        session = talk.sessions[side]
        tokens = await asyncio.to_thread(special_tokens, Path(session.choice.path))
        note = session_view.rendered_words(event, session.ready, marks=bool(tokens))
        title = "The prompt as the model sees it"
        self.console.push_screen(RenderedPrompt(title, note, marked(event.rendered, tokens)))
