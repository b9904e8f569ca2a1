"""One answer of one model, as its events tell it: the text so far, its speeds, how it ended."""

from dataclasses import dataclass, field
from typing import Literal

from fqconsole.app.visible_text import visible
from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import (
    AnyEvent,
    GenerationDone,
    GenerationStarted,
    JobDone,
    JobFailed,
    TokensGenerated,
)

AnswerStatus = Literal["waiting", "sent", "reading", "writing", "done", "stopped", "cancelled", "failed"]
UNDER_WAY = ("sent", "reading", "writing")


@dataclass(eq=False)
class Answer:
    """Built up by `take`, which looks only at events of its own run."""

    prompt: str
    sampling: Sampling
    earlier: tuple[tuple[str, str], ...] = ()  # (role, content) of the conversation before this prompt
    status: AnswerStatus = "waiting"
    run_id: str = ""
    pieces: list[str] = field(default_factory=list)
    count: int = 0  # new tokens so far
    tok_s: float | None = None
    started: GenerationStarted | None = None
    first_at: float | None = None  # when the first text came, by the worker's clock
    result: GenerationDone | None = None
    problem: str = ""
    _shown: tuple[str, str] = ("", "")  # a text and how it is shown

    @property
    def shown(self) -> str:
        """The text safe to draw, without the blanks before it."""
        text = self.text
        if self._shown[0] != text:
            self._shown = (text, visible(text).lstrip())
        return self._shown[1]

    @property
    def text(self) -> str:
        return self.result.text if self.result is not None else "".join(self.pieces)

    @property
    def under_way(self) -> bool:
        """The worker has it and is not done with it."""
        return self.status in UNDER_WAY

    @property
    def over(self) -> bool:
        return self.status in ("done", "stopped", "cancelled", "failed")

    @property
    def messages(self) -> tuple[tuple[str, str], ...]:
        """The whole conversation up to and with this prompt."""
        return (*self.earlier, ("user", self.prompt))

    @property
    def waited_ms(self) -> float | None:
        """About the time to the first token, seen from outside until the worker tells the measured one."""
        if self.started is None or self.first_at is None:
            return None
        return max(0.0, self.first_at - self.started.t) * 1000

    @property
    def context_used(self) -> int | None:
        """Tokens in the context now, prompt and answer."""
        if self.started is None:
            return None
        result = self.result
        asked = self.started.prompt_tokens if result is None else result.prompt_tokens
        new = self.count if result is None else result.tokens
        return None if asked is None or new is None else asked + new

    def fail(self, problem: str) -> None:
        self.status, self.problem = "failed", problem

    def take(self, event: AnyEvent) -> None:
        if not self.run_id or getattr(event, "run_id", None) != self.run_id:
            return
        match event:
            case GenerationStarted():
                self.started, self.status = event, "reading"
            case TokensGenerated():
                self.first_at = event.t if self.first_at is None else self.first_at
                self.pieces.append(event.text)
                self.count, self.tok_s, self.status = event.count, event.tok_s, "writing"
            case GenerationDone():
                self.result = event
                self.status = "stopped" if event.stop_reason == "stopped" else "done"
            case JobDone() if not self.over:
                self.status = "cancelled"
            case JobFailed():
                self.fail(f"{event.what} {event.next_step}".strip())
            case _:
                pass
