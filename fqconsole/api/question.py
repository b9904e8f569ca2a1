"""A request's body as a question to the model: checked, with OpenAI's defaults, and nothing quietly left out.

A field that would change the answer and can't be honoured is refused by name; one that does not matter to the
answer (`user`, `metadata`) is passed over.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from fqconsole.api.refusal import BAD_REQUEST, Refusal
from fqconsole.generation.options import Sampling, problem, with_seed

COMPLETION_TOKENS = 16  # OpenAI's default of /v1/completions
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class Question(msgspec.Struct, frozen=True):
    """What is asked: exactly one of `prompt` and `messages`."""

    model: str
    sampling: Sampling
    prompt: str | None = None
    messages: tuple[tuple[str, str], ...] | None = None
    stream: bool = False
    usage_in_stream: bool = False

    @property
    def chat(self) -> bool:
        return self.messages is not None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Body(msgspec.Struct):
    """The fields that both kinds have."""

    model: str
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


class _Completion(_Body):
    prompt: str | list[str] = ""


class _Chat(_Body):
    messages: list[_Message] = []
    max_completion_tokens: int | None = None


Kind = TypeVar("Kind", bound=_Body)


def completion_question(body: bytes) -> Question:
    """The question of `POST /v1/completions`. Raises Refusal naming the field."""
    fields = _fields(body)
    _refuse_what_is_not_done(fields, logprobs=None)
    asked = _converted(fields, _Completion)
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    if len(prompts) != 1 or not prompts[0]:
        raise Refusal(BAD_REQUEST, "One prompt at a time, and not an empty one.", param="prompt")
    return _question(asked, prompt=prompts[0], most=asked.max_tokens or COMPLETION_TOKENS)


def chat_question(body: bytes, *, context: int) -> Question:
    """The question of `POST /v1/chat/completions`; with no limit the answer may fill the `context`.

    Raises Refusal naming the field.
    """
    fields = _fields(body)
    _refuse_what_is_not_done(fields, logprobs=False)
    asked = _converted(fields, _Chat)
    if not asked.messages:
        raise Refusal(BAD_REQUEST, "The conversation is empty: send at least one message.", param="messages")
    messages = tuple(_turn(message) for message in asked.messages)
    most = asked.max_completion_tokens or asked.max_tokens or context
    return _question(asked, messages=messages, most=most)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refusal(BAD_REQUEST, f"The body is not JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise Refusal(BAD_REQUEST, "The body is no JSON object.")
    return fields


def _converted(fields: Mapping[str, Any], kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        at = re.search(r"\$\.(\w+)", str(error)) or re.search(r"field `(\w+)`", str(error))
        raise Refusal(BAD_REQUEST, f"{error}.", param=at[1] if at else None) from None


def _refuse_what_is_not_done(fields: Mapping[str, Any], *, logprobs: bool | None) -> None:
    """`logprobs` is what that field says where nothing is asked (completions: null, chat: false)."""
    neutral: dict[str, tuple[Any, ...]] = {
        "n": (1,),
        "best_of": (1,),
        "echo": (False,),
        "suffix": ("",),
        "logprobs": (logprobs,),
        "top_logprobs": (0,),
        "logit_bias": ({},),
        "frequency_penalty": (0,),
        "presence_penalty": (0,),
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "functions": ([],),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
    }
    for name, values in neutral.items():
        value = fields.get(name)
        if value is not None and value not in values:
            raise Refusal(
                BAD_REQUEST, f"{name} is not supported here: leave it out.", param=name, code="unsupported"
            )


def _turn(message: _Message) -> tuple[str, str]:
    role = ROLES.get(message.role)
    if role is None:
        raise Refusal(
            BAD_REQUEST,
            f"The role {message.role[:40]!r} is not known: use system, user or assistant.",
            param="messages",
        )
    if isinstance(message.content, str):
        return role, message.content
    parts = message.content or []
    if not parts or any(part.type != "text" or part.text is None for part in parts):
        raise Refusal(BAD_REQUEST, "A message's content is text only.", param="messages")
    return role, "".join(part.text or "" for part in parts)


def _question(
    asked: _Body,
    *,
    most: int,
    prompt: str | None = None,
    messages: tuple[tuple[str, str], ...] | None = None,
) -> Question:
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    sampling = Sampling(
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        top_k=max(0, asked.top_k or 0),  # -1 is "off" for some clients
        min_p=asked.min_p or 0.0,
        repetition_penalty=1.0 if asked.repetition_penalty is None else asked.repetition_penalty,
        seed=asked.seed,
        max_new_tokens=most,
        stop=tuple(stop),
    )
    wrong = problem(sampling)
    if wrong:
        first = wrong.split()[0]
        raise Refusal(BAD_REQUEST, wrong, param=first if first in Sampling.__struct_fields__ else None)
    options = asked.stream_options
    return Question(
        model=asked.model,
        sampling=with_seed(sampling),
        prompt=prompt,
        messages=messages,
        stream=bool(asked.stream),
        usage_in_stream=bool(options and options.include_usage),
    )
