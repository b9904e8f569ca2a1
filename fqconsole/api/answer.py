"""What a worker tells of one answer, as OpenAI's documents: whole, or chunk by chunk."""

import time
from typing import Any

import msgspec

from fqconsole.api.question import Question
from fqconsole.jobs.messages import GenerationDone

FINISH = {"end": "stop", "stop_string": "stop", "length": "length", "context": "length", "stopped": "stop"}
STREAM_END = b"data: [DONE]\n\n"


class AnswerForm:
    """The documents of one answer; `run_id` names it."""

    def __init__(self, question: Question, run_id: str, model: str) -> None:
        self._chat = question.chat
        self._usage = question.usage_in_stream
        self._head: dict[str, Any] = {
            "id": f"{'chatcmpl' if question.chat else 'cmpl'}-{run_id}",
            "object": "",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, done: GenerationDone) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        said: dict[str, Any] = (
            {"message": {"role": "assistant", "content": done.text, "refusal": None}}
            if self._chat
            else {"text": done.text}
        )
        return {
            **self._head,
            "object": "chat.completion" if self._chat else "text_completion",
            "choices": [_choice(said, FINISH[done.stop_reason])],
            "usage": _usage(done),
        }

    def opening(self) -> bytes:
        """What comes before any text."""
        return self._chunk({"role": "assistant", "content": ""}) if self._chat else b""

    def text(self, text: str) -> bytes:
        """New text."""
        return self._chunk({"content": text} if self._chat else {"text": text})

    def closing(self, done: GenerationDone) -> bytes:
        """Why it ended, what it took where that was asked for, and the end of the stream."""
        last = self._chunk({} if self._chat else {"text": ""}, FINISH[done.stop_reason])
        if self._usage:
            last += _event({**self._head, "object": self._chunk_kind, "choices": [], "usage": _usage(done)})
        return last + STREAM_END

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _chunk(self, said: dict[str, Any], finish: str | None = None) -> bytes:
        choice = _choice({"delta": said} if self._chat else said, finish)
        document: dict[str, Any] = {**self._head, "object": self._chunk_kind, "choices": [choice]}
        if self._usage:
            document["usage"] = None
        return _event(document)


def failure_event(document: dict[str, Any]) -> bytes:
    """An error in the middle of a stream, as OpenAI's client reads it, and the end of the stream."""
    return _event(document) + STREAM_END


def _choice(said: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, **said, "logprobs": None, "finish_reason": finish}


def _usage(done: GenerationDone) -> dict[str, int]:
    asked, new = done.prompt_tokens or 0, done.tokens or 0
    return {"prompt_tokens": asked, "completion_tokens": new, "total_tokens": asked + new}


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"
