"""One question put to a model: the session is opened, asked once and closed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fqconsole.cli.job_driver import JobDriver
from fqconsole.cli.memory_check import predicted_gpu, room_to_generate
from fqconsole.cli.model_choice import chosen
from fqconsole.cli.output import Output
from fqconsole.cli.prompt_source import Messages, has_chat_template, messages_of, prompt_text
from fqconsole.endpoints.address import Address, is_address, parse_address
from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import (
    AnyEvent,
    GenerationDone,
    GenerationStarted,
    Send,
    SessionReady,
    StartEndpoint,
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
    kv_bits: int = 16
    gpus: int = 1
    split: str = "auto"

    def room_on(self, model: ModelDescription) -> dict[str, int]:
        """What `room_to_generate` says of answering it; raises what that raises."""
        return room_to_generate(
            model,
            self.context,
            self.device,
            force=self.force,
            kv_bits=self.kv_bits,
            gpus=self.gpus,
            split=self.split,
        )


class Answerer:
    """Puts the same question to one model after the other. `stream` prints the text as it comes."""

    def __init__(self, store: Store, output: Output, question: Question, *, stream: bool) -> None:
        self._store = store
        self._output = output
        self._question = question
        self._stream = stream and not output.data_only
        self._typed: str | None = None  # stdin can be read once only

    def answer(self, word: str) -> dict[str, Any]:
        """Run the session and return its document. `word` is a model, or the address of a server."""
        question, output = self._question, self._output
        if is_address(word):
            return self._answer_of_server(parse_address(word))
        model = describe(chosen(word, self._store))
        folder = Path(str(model.path))
        templated = has_chat_template(folder) and not question.raw
        prompt, messages = self._words(model.suggested_prompt, templated=templated)
        predicted = question.room_on(model)
        send = begin_generate(
            self._store,
            model_path=folder,
            sampling=question.sampling,
            prompt=prompt,
            messages=messages,
            context=question.context,
            device=question.device,
            model_id=model.id,
            # What is measured of several GPUs is one's share: nothing to hold a prediction against.
            predicted=predicted if question.gpus == 1 else None,
            predicted_gpu=predicted_gpu(question.device),
            gpus=question.gpus,
        )
        output.say(f"{send.run_id}: {model.id}")
        start = StartSession(
            model_path=str(folder),
            context=question.context,
            device=question.device,
            kv_bits=question.kv_bits,
            gpus=question.gpus,
            split=question.split,
        )
        return self._carried_out(start, send)

    def _answer_of_server(self, address: Address) -> dict[str, Any]:
        """The same question to a model that a server has; as a conversation, unless it is to go raw."""
        question = self._question
        prompt, messages = self._words(None, templated=not question.raw)
        send = begin_generate(
            self._store,
            model_path=str(address),
            sampling=question.sampling,
            prompt=prompt,
            messages=messages,
            device="remote",
        )
        self._output.say(f"{send.run_id}: {address.model or 'the model'} at {address.host}")
        return self._carried_out(StartEndpoint(url=address.url, model=address.model), send)

    def _carried_out(self, start: StartSession | StartEndpoint, send: Send) -> dict[str, Any]:
        heard = _Heard(self._output, stream=self._stream)
        try:
            JobDriver(self._store, self._output).run(start, send.run_id, heard.take, send=send)
        finally:
            heard.end_line()
        return heard.document(send.run_id, self._store.run(send.run_id).row.model)

    def _words(self, suggested: str | None, *, templated: bool) -> tuple[str | None, Messages | None]:
        """The plain prompt, or the messages for a model with a chat template."""
        question = self._question
        if question.messages is not None:
            return None, messages_of(question.messages)
        if self._typed is None:
            self._typed = prompt_text(question.prompt, suggested)
        if question.system is not None:
            return None, (("system", question.system), ("user", self._typed))
        if templated:
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
            "tokens": self._done.tokens if self._done else None,
        }
