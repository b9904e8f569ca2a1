"""Many prompts to sessions that each have the whole model, on GPUs of their own, from one queue."""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fqconsole import paths
from fqconsole.cli.answering import Question
from fqconsole.cli.ending import EndedBySignal, heeded, listen
from fqconsole.cli.memory_check import predicted_gpu
from fqconsole.cli.model_choice import chosen
from fqconsole.cli.output import Output
from fqconsole.cli.prompt_file import PromptLine, answer_line
from fqconsole.cli.prompt_source import has_chat_template
from fqconsole.errors import OperatorError
from fqconsole.jobs import Job, Recorder
from fqconsole.jobs.messages import (
    AnyEvent,
    GenerationDone,
    JobDone,
    JobFailed,
    Send,
    SessionReady,
    StartSession,
)
from fqconsole.jobs.runs import begin_generate
from fqconsole.models import ModelDescription, describe
from store import Store


class NotAllAnsweredError(OperatorError):
    """Some prompts have no answer."""


@dataclass
class _Under:
    """The prompt that a replica works on."""

    line: PromptLine
    run_id: str
    done: GenerationDone | None = None


class Replicas:
    """`count` sessions on one model. Answers are printed as JSON lines, in the order in which they end."""

    def __init__(self, store: Store, output: Output, question: Question, word: str, count: int) -> None:
        """Raises what stands in the way of a session, before any is started."""
        self._store = store
        self._output = output
        self._question = question
        self._recorder = Recorder(store)
        self._model: ModelDescription = describe(chosen(word, store))
        self._folder = Path(str(self._model.path))
        self._templated = has_chat_template(self._folder) and not question.raw
        question.room_on(self._model)
        first = predicted_gpu(question.device)
        self._devices = [
            question.device if first is None else f"cuda:{first + number * question.gpus}"
            for number in range(count)
        ]
        self._waiting: deque[PromptLine] = deque()
        self._failures = 0
        self._ended_by: int | None = None
        self._jobs: list[Job] = []

    def answer(self, prompts: list[PromptLine]) -> None:
        """Answer all of them. Raises NotAllAnsweredError, and EndedBySignal when a signal ended it."""
        self._waiting.extend(prompts)
        try:
            asyncio.run(self._drive())
        finally:
            listen()
            self._recorder.flush()
        if self._ended_by is not None:
            raise EndedBySignal(self._ended_by)
        missing = self._failures + len(self._waiting)
        if missing:
            raise NotAllAnsweredError(
                f"{missing} of {len(prompts)} prompts have no answer.", "See `fqconsole runs list`."
            )

    async def _drive(self) -> None:
        loop = asyncio.get_running_loop()
        for number in heeded():
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            await asyncio.gather(*(self._serve(at, device) for at, device in enumerate(self._devices)))
        finally:
            for number in heeded():
                loop.remove_signal_handler(number)

    def _on_signal(self, number: int) -> None:
        self._ended_by = self._ended_by or number
        for job in self._jobs:
            asyncio.get_running_loop().create_task(job.cancel())

    async def _serve(self, replica: int, device: str) -> None:
        """One session, from its start until nothing waits any more."""
        question = self._question
        start = StartSession(
            model_path=str(self._folder),
            context=question.context,
            device=device,
            kv_bits=question.kv_bits,
            gpus=question.gpus,
            split=question.split,
        )
        under: _Under | None = None
        try:
            async with await Job.start(start, log_dir=paths.log_dir()) as job:
                self._jobs.append(job)
                async for event in job.events():
                    self._recorder.feed(event)
                    if isinstance(event, GenerationDone) and under is not None:
                        under.done = event
                    if isinstance(event, JobDone | JobFailed):
                        self._tell(under, replica, event)
                        under = None
                    if isinstance(event, SessionReady):
                        self._output.say(f"replica {replica} on {event.device} in {event.load_seconds:.1f} s")
                    if isinstance(event, SessionReady | JobDone) or (
                        isinstance(event, JobFailed) and event.run_id
                    ):
                        under = await self._next(job)
        finally:
            if under is not None:
                self._failures += 1
                self._store.finish_run(under.run_id, "cancelled")

    async def _next(self, job: Job) -> _Under | None:
        """Send the next prompt, or end the session where there is none."""
        if not self._waiting or self._ended_by is not None:
            with contextlib.suppress(ConnectionError):
                await job.cancel()
            return None
        line = self._waiting.popleft()
        messages: tuple[tuple[str, str], ...] | None = None
        if self._question.system is not None:
            messages = (("system", self._question.system), ("user", line.prompt))
        elif self._templated:
            messages = (("user", line.prompt),)
        send: Send = begin_generate(
            self._store,
            model_path=self._folder,
            sampling=self._question.sampling,
            prompt=line.prompt if messages is None else None,
            messages=messages,
            context=self._question.context,
            device=self._question.device,
            model_id=self._model.id,
            gpus=self._question.gpus,
        )
        await job.send(send)
        return _Under(line, send.run_id)

    def _tell(self, under: _Under | None, replica: int, event: AnyEvent) -> None:
        if isinstance(event, JobFailed):
            self._output.say(f"replica {replica}: {event.what} {event.next_step}")
        if under is None:
            return
        if isinstance(event, JobFailed):
            self._failures += 1
            self._store.finish_run(under.run_id, "failed", error={"code": event.code, "what": event.what})
            said: dict[str, Any] = {"error": event.what}
        elif under.done is None:
            self._failures += 1
            said = {"error": "cancelled"}
        else:
            done = under.done
            said = {
                "text": done.text,
                "tokens": done.tokens,
                "ttft_ms": done.ttft_ms,
                "decode_tok_s": done.decode_tok_s,
                "stop_reason": done.stop_reason,
            }
        self._output.result(answer_line(under.line, under.run_id, replica, **said), lines=True)
