"""What is asked of a server: prompts and sampling in its words, and an answer measured from outside."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fqconsole.endpoints.client import EndpointClient
from fqconsole.endpoints.failure import EndpointError
from fqconsole.generation.options import Sampling

CHAT, PLAIN = "/chat/completions", "/completions"
NO_SUCH_THING = (400, 404, 405, 422, 501)

StopReason = Literal["end", "length", "stopped"]


@dataclass(frozen=True)
class RemoteAnswer:
    """Times are seen from here: network and the server's queue are in them. None: the server does not say."""

    text: str
    prompt_tokens: int | None
    new_tokens: int | None
    ttft_ms: float
    decode_tok_s: float | None
    stop_reason: StopReason


def has_chat(client: EndpointClient, model: str) -> bool:
    """Whether the server renders conversations for this model: asked with one token, which also warms it.

    Raises EndpointError for every other reason why it does not answer.
    """
    question = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    try:
        client.ask(CHAT, question)
    except EndpointError as error:
        if error.status in NO_SUCH_THING:
            return False
        raise
    return True


def converse(
    client: EndpointClient,
    model: str,
    sampling: Sampling,
    *,
    prompt: str | None,
    messages: Sequence[tuple[str, str]] | None,
    stop: Callable[[], bool],
    on_text: Callable[[str, int, float | None], None],
) -> RemoteAnswer:
    """Ask and listen to the end. `on_text` gets new text, the pieces so far and their rate.

    Raises EndpointError. A piece is mostly a token; the server's own count is asked for and wins at the end.
    """
    body = {"model": model, "stream_options": {"include_usage": True}, **_sampling(sampling)}
    if messages is None:
        path, body["prompt"] = PLAIN, prompt
    else:
        path = CHAT
        body["messages"] = [{"role": role, "content": content} for role, content in messages]
    began = time.perf_counter()
    first = last = None
    pieces: list[str] = []
    finish: str | None = None
    prompt_tokens = new_tokens = None
    for piece in client.answer(path, body, stop=stop):
        if piece.text:
            last = time.perf_counter()
            first = first or last
            pieces.append(piece.text)
            on_text(piece.text, len(pieces), _rate(len(pieces), first, last))
        finish = piece.finish or finish
        prompt_tokens = prompt_tokens if piece.prompt_tokens is None else piece.prompt_tokens
        new_tokens = new_tokens if piece.new_tokens is None else piece.new_tokens
    reason: StopReason = "length" if finish == "length" else "end" if finish else "stopped"
    if reason == "stopped" and not stop():
        raise EndpointError(
            f"The server at {client.host} ended the answer in the middle.", "Its own log says why."
        )
    return RemoteAnswer(
        text="".join(pieces),
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        ttft_ms=((first or time.perf_counter()) - began) * 1000,
        decode_tok_s=_rate(len(pieces) if new_tokens is None else new_tokens, first, last),
        stop_reason=reason,
    )


def _rate(tokens: int, first: float | None, last: float | None) -> float | None:
    """Tokens a second after the first."""
    if first is None or last is None or last <= first or tokens < 2:
        return None
    return (tokens - 1) / (last - first)


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """OpenAI's fields; those that only local engines know are left out where they are off."""
    fields: dict[str, Any] = {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p if sampling.temperature else 1.0,
    }
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.top_k and sampling.temperature:
        fields["top_k"] = sampling.top_k
    if sampling.min_p and sampling.temperature:
        fields["min_p"] = sampling.min_p
    if sampling.repetition_penalty != 1:
        fields["repetition_penalty"] = sampling.repetition_penalty
    return fields
