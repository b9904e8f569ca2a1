"""States of the Session screen."""

from collections.abc import Callable, Iterable
from typing import Any

from textual.pilot import Pilot

from fqconsole.app.console import FqConsole
from tests.app.gallery.state import Build, Place, State, Step, typed
from tests.app.session_fakes import (
    SIXTEEN,
    RecordedMeasurement,
    RecordedSession,
    SessionStage,
    failure,
    markdown_answer,
)

SHARD = "The shard model-00002-of-00004.safetensors of /models/[big] is truncated: 1.2 of 4.9 GB."
MEMORY = "The GPU is out of memory: 1.9 GiB were asked for, 0.4 GiB are free."


def on_stage(
    *keys: Step,
    opened: bool = True,
    first: Callable[[], RecordedSession] = RecordedSession,
    second: Callable[[], RecordedSession] | None = None,
    measured: bool = True,
    hold: int | None = None,
    **options: Any,
) -> Build:
    """A Session on recorded workers; `hold` stops the measurement after so many events."""

    def build(place: Place) -> tuple[FqConsole, Iterable[Step]]:
        stage = SessionStage(
            place.folder,
            first=first(),
            second=second() if second else None,
            measurement=RecordedMeasurement(hold) if measured else None,
            **options,
        )

        async def open_session(_pilot: Pilot[Any]) -> None:
            stage.open_session()

        return stage.app, ((open_session, *keys) if opened else keys)

    return build


def holding(**places: int) -> Callable[[], RecordedSession]:
    return lambda: RecordedSession(**places)


def chat() -> RecordedSession:
    return RecordedSession(has_chat_template=True)


def telling(answer: Any) -> Callable[[], RecordedSession]:
    return lambda: RecordedSession(answers=[answer])


async def server(pilot: Pilot[Any]) -> None:
    pilot.app.screen.action_endpoint()  # type: ignore[attr-defined]


BROKEN = failure(SHARD, "Download it again.")
OUT_OF_MEMORY = [failure(MEMORY, "Choose a shorter context.", run_id="r0002", exit_code=4)]
SYSTEM = ("f4", *["tab"] * 8, typed("Be"), "enter", "enter", typed("And"), "enter")
OWN_PRESET = ("f4", "f4", *["tab"] * 7, typed("short"), "tab", typed("Be"))

STATES = (
    State("session-empty", on_stage("4", opened=False)),
    State("session-loading", on_stage(first=holding(hold_opening=3))),
    State("session-ready", on_stage()),
    State("session-streaming", on_stage("enter", first=holding(hold_answer=6), measured=False)),
    State("session-measuring", on_stage("enter", hold=6)),
    State("session-done", on_stage("enter")),
    State("session-failed", on_stage(first=lambda: RecordedSession(opening=[BROKEN]))),
    State("session-answer-failed", on_stage("enter", first=telling(OUT_OF_MEMORY))),
    State(
        "session-stopped",
        on_stage("enter", "escape", first=holding(hold_answer=6), prompt="千问 \x1b[31m[b]é🙂"),
    ),
    State("session-second-loads", on_stage("enter", "f2", second=lambda: RecordedSession(hold_opening=2))),
    State("session-two", on_stage("enter", "f2")),
    State(
        "session-blind-written",
        on_stage("f12", "enter", second=lambda: RecordedSession(SIXTEEN, hold_answer=5)),
    ),
    State("session-blind-vote", on_stage("f12", "enter")),
    State("session-blind-voted", on_stage("f12", "enter", "y")),
    State("session-markdown", on_stage("enter", model_id="org/chat", first=telling(markdown_answer()))),
    State("session-dialogue", on_stage(*SYSTEM, model_id="org/chat", first=chat)),
    State("session-sampling", on_stage("f4")),
    State("session-sampling-chat", on_stage(*OWN_PRESET, model_id="org/chat", first=chat)),
    State("session-prompt-seen", on_stage("enter", "f3")),
    State("session-prompt-from-file", on_stage("ctrl+l", typed("/nowhere/[x].txt"), "enter")),
    State("session-other-model", on_stage("enter", "ctrl+r")),
    State("session-server", on_stage(server)),
)
