"""One question put to a model: the session is opened, asked once and closed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fqconsole.cli.job_driver import JobDriver
from fqconsole.cli.memory_check import predicted_gpu, room_to_generate
from fqconsole.cli.model_choice import chosen
from fqconsole.cli.output import Output
from fqconsole.cli.prompt_source import Messages, has_chat_template, messages_of, prompt_text
from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import (
    AnyEvent,
    GenerationDone,
    GenerationStarted,
    SessionReady,
    StartSession,
    TokensGenerated,
)
from fqconsole.jobs.runs import begin_generate
from fqconsole.models import ModelDescription, describe
from store import Store


@dataclass(frozen=True)
class Question:
    """What is asked, and how; `prompt` as it was typed, `messages` the file of a conversation."""

    sampling: Sampling
    prompt: str | None = None
    messages: Path | None = None
    system: str | None = None
    raw: bool = False
    context: int | None = None
    device: str = "auto"
    force: bool = False


class Answerer:
    """Puts the same question to one model after the other. `stream` prints the text as it comes."""

    def __init__(self, store: Store, output: Output, question: Question, *, stream: bool) -> None:
        self._store = store
        self._output = output
        self._question = question
        self._stream = stream and not output.data_only
        self._typed: str | None = None  # stdin can be read once only

    def answer(self, word: str) -> dict[str, Any]:
        """Run the session and return the document of its generation."""
        question, output = self._question, self._output
        model = describe(chosen(word, self._store))
        folder = Path(str(model.path))
        prompt, messages = self._asked(model, folder)
        predicted = room_to_generate(model, question.context, question.device, force=question.force)
        send = begin_generate(
            self._store,
            model_path=folder,
            sampling=question.sampling,
            prompt=prompt,
            messages=messages,
            context=question.context,
            device=question.device,
            model_id=model.id,
            predicted=predicted,
            predicted_gpu=predicted_gpu(question.device),
        )
        heard = _Heard(output, stream=self._stream)
        output.say(f"{send.run_id}: {model.id}")
        start = StartSession(model_path=str(folder), context=question.context, device=question.device)
        try:
            JobDriver(self._store, output).run(start, send.run_id, heard.take, send=send)
        finally:
            heard.end_line()
        return heard.document(send.run_id, self._store.run(send.run_id).row.model)

    def _asked(self, model: ModelDescription, folder: Path) -> tuple[str | None, Messages | None]:
        """The plain prompt, or the messages for a model with a chat template."""
        question = self._question
        if question.messages is not None:
            return None, messages_of(question.messages)
        if self._typed is None:
            self._typed = prompt_text(question.prompt, model.suggested_prompt)
        if question.system is not None:
            return None, (("system", question.system), ("user", self._typed))
        if has_chat_template(folder) and not question.raw:
            return None, (("user", self._typed),)
        return self._typed, None


class _Heard:
    """What the session told."""

    def __init__(self, output: Output, *, stream: bool) -> None:
        self._output = output
        self._stream = stream
        self._open_line = False
        self._ready: SessionReady | None = None
        self._seed: int | None = None
        self._done: GenerationDone | None = None

    def take(self, event: AnyEvent) -> None:
        match event:
            case SessionReady():
                self._ready = event
            case GenerationStarted():
                self._seed = event.seed
            case TokensGenerated() if self._stream and event.text:
                self._output.stream(event.text)
                self._open_line = not event.text.endswith("\n")
            case GenerationDone():
                self._done = event

    def end_line(self) -> None:
        """Generated text seldom ends with a newline; a shell's prompt wants one."""
        if self._open_line:
            self._output.stream("\n")
            self._open_line = False

    def document(self, run_id: str, model: str) -> dict[str, Any]:
        names = (
            "text", "token_ids", "prompt_tokens", "ttft_ms", "prefill_tok_s", "decode_tok_s", "peak_bytes",
            "stop_reason",
        )  # fmt: skip
        ready = self._ready
        return {
            "run_id": run_id,
            "model": model,
            "precision": ready.precision if ready else None,
            "device": ready.device if ready else None,
            "seed": self._seed,
            **{name: getattr(self._done, name, None) for name in names},
        }
