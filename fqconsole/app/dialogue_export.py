"""A dialogue as a Markdown file: what was asked, what each model answered, how fast, in which runs."""

import time
from collections.abc import Iterator
from pathlib import Path

from fqconsole.app.answer import Answer
from fqconsole.app.dialogue import Dialogue
from fqconsole.app.model_session import ModelSession
from fqconsole.app.session_view import meters, sampling_words
from fqconsole.app.turn import Turn
from fqconsole.app.visible_text import one_line, visible
from fqconsole.private_files import write_new_private


def dialogue_markdown(talk: Dialogue, *, now: float) -> str:
    """The whole dialogue. Answers stand as they were written; a question is a quote."""
    names = " and ".join(one_line(session.choice.label) for session in talk.sessions.values())
    parts = [f"# {names or 'Dialogue'}", time.strftime("%Y-%m-%d %H:%M", time.localtime(now))]
    if talk.system:
        parts.append(f"System prompt:\n\n{_quoted(talk.system)}")
    for number, turn in enumerate(talk.turns, start=1):
        parts += [f"## {number}", _quoted(turn.prompt), *_answers(talk, turn)]
    return "\n\n".join(parts) + "\n"


def _answers(talk: Dialogue, turn: Turn) -> Iterator[str]:
    for side, answer in turn.answers.items():
        session = talk.sessions.get(side)
        name = one_line(session.choice.label) if session else side
        verdict = turn.blind.verdict(side) if turn.blind else ""
        shown = (
            f" (shown as {turn.blind.letter(side)}{', ' + verdict if verdict else ''})" if turn.blind else ""
        )
        yield f"### {name}{shown}"
        yield visible(answer.text).strip() if answer.text else f"({answer.problem or answer.status})"
        facts = _facts(answer, session)
        if facts:
            yield f"*{facts}*"


def _facts(answer: Answer, session: ModelSession | None) -> str:
    context = session.ready.context if session and session.ready else None
    words = meters(answer, context, bar=False)
    return " · ".join([*words, sampling_words(answer.sampling)]) if words else ""


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in visible(text).split("\n"))


def write_dialogue(text: str, folder: Path, *, now: float) -> Path:
    """A new file in `folder`, under a name that is not taken. Raises OSError."""
    stem = f"dialogue-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"
    return write_new_private(folder, stem, ".md", text)
