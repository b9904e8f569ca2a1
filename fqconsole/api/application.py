"""The routes: models, chat completions, completions and health."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fqconsole.api.answer import AnswerForm, failure_event
from fqconsole.api.gate import Application, Gate
from fqconsole.api.question import Question, chat_question, completion_question
from fqconsole.api.refusal import NOT_FOUND, TOO_LARGE, TOO_SLOW, UNAVAILABLE, WRONG_TYPE, Refusal, refusal_of
from fqconsole.api.warm_model import Asked, WarmModel
from fqconsole.jobs.messages import (
    AnyEvent,
    GenerationDone,
    GenerationStarted,
    JobFailed,
    SessionReady,
    TokensGenerated,
)

CHAT_AT_MOST = 8192  # tokens, where a session does not say how large its context is
BODY_AT_MOST = 8 * 2**20  # bytes; far more text than any context holds
BODY_SECONDS = 60.0  # to send it: a client that never ends holds no connection for ever
T = TypeVar("T")


class _Left(Exception):  # noqa: N818 - no error: the client is free to go
    """The client closed its connection."""


@dataclass(frozen=True)
class Answered:
    """What the operator may see of one answer: no text."""

    run_id: str
    kind: str
    done: GenerationDone | None
    problem: str = ""


def api_application(
    model: WarmModel,
    ready: SessionReady,
    name: str,
    *,
    token: str | None,
    on_answer: Callable[[Answered], None] = lambda _answered: None,
) -> Application:
    """The ASGI application. `name` is what clients call the model; `token` None asks for none."""
    routes = _Routes(model, ready, name, on_answer)
    inner = Starlette(
        routes=[
            Route("/health", routes.health),
            Route("/v1/models", routes.models),
            Route("/v1/models/{name:path}", routes.one_model),
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
            Route("/v1/completions", routes.completion, methods=["POST"]),
        ],
        exception_handlers={Refusal: _refused, HTTPException: _http_error},
    )
    return Gate(inner, token)


class _Routes:
    def __init__(
        self, model: WarmModel, ready: SessionReady, name: str, on_answer: Callable[[Answered], None]
    ) -> None:
        self._model = model
        self._ready = ready
        self._name = name
        self._on_answer = on_answer
        self._created = int(time.time())

    async def health(self, _request: Request) -> Response:
        """200 while the session lives, as engines have it."""
        return Response(status_code=UNAVAILABLE if self._model.gone.is_set() else 200)

    async def models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def one_model(self, request: Request) -> Response:
        self._check_name(request.path_params["name"])
        return JSONResponse(self._card())

    async def chat(self, request: Request) -> Response:
        if not self._ready.has_chat_template:
            raise Refusal(
                400,
                "This model has no chat template: send a plain prompt to /v1/completions.",
                code="no_chat_template",
            )
        question = chat_question(await _body(request), context=self._ready.context or CHAT_AT_MOST)
        return await self._answer(request, question)

    async def completion(self, request: Request) -> Response:
        return await self._answer(request, completion_question(await _body(request)))

    async def _answer(self, request: Request, question: Question) -> Response:
        """The first event decides: what can't be answered gets a status of its own, streamed or not."""
        self._check_name(question.model)
        asked = self._model.ask(question)
        left = asyncio.create_task(_disconnected(request))
        try:
            while isinstance(event := await _unless(left, asked.next()), GenerationStarted):
                pass  # reading the prompt may still go wrong
            self._check(event, asked)
            form = AnswerForm(question, asked.run_id, self._name)
            headers = {"x-fqconsole-run": asked.run_id, "cache-control": "no-store"}
            if question.stream:
                body = self._stream(asked, form, event)
                return StreamingResponse(body, media_type="text/event-stream", headers=headers)
            while not isinstance(event, GenerationDone):
                event = await _unless(left, asked.next())
                self._check(event, asked)
            self._tell(asked, event)
            return JSONResponse(form.whole(event), headers=headers)
        except BaseException as error:
            asked.leave()
            if isinstance(error, _Left):
                self._tell(asked, None, "the client left")
                return Response(status_code=499)  # nobody reads it
            raise
        finally:
            left.cancel()

    async def _stream(self, asked: Asked, form: AnswerForm, event: AnyEvent) -> AsyncIterator[bytes]:
        """Starlette cancels this when the client leaves."""
        done: GenerationDone | None = None
        problem = "the client left"
        try:
            yield form.opening()
            while not isinstance(event, GenerationDone):
                if isinstance(event, TokensGenerated):
                    yield form.text(event.text)
                elif isinstance(event, JobFailed):
                    raise refusal_of(event)
                event = await asked.next()
            done = event
            yield form.closing(done)
        except Refusal as refusal:
            problem = refusal.message
            yield failure_event(refusal.document)
        finally:
            if done is None:
                asked.leave()
            self._tell(asked, done, "" if done else problem)

    def _check(self, event: AnyEvent, asked: Asked) -> None:
        if isinstance(event, JobFailed):
            refusal = refusal_of(event)
            self._tell(asked, None, refusal.message)
            raise refusal

    def _tell(self, asked: Asked, done: GenerationDone | None, problem: str = "") -> None:
        kind = "chat" if asked.question.chat else "completion"
        self._on_answer(Answered(asked.run_id, kind, done, problem))

    def _card(self) -> dict[str, Any]:
        return {
            "id": self._name,
            "object": "model",
            "created": self._created,
            "owned_by": "fqconsole",
            "max_model_len": self._ready.context,
        }

    def _check_name(self, name: str) -> None:
        if name != self._name:
            raise Refusal(
                NOT_FOUND,
                f"There is no model {name[:80]!r} here, only {self._name!r}.",
                param="model",
                code="model_not_found",
            )


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(WRONG_TYPE, "Send the body as application/json.")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > BODY_AT_MOST:
                    raise Refusal(TOO_LARGE, f"The body is larger than {BODY_AT_MOST // 2**20} MiB.")
                parts.append(part)
    except TimeoutError:
        raise Refusal(TOO_SLOW, f"The body did not come within {BODY_SECONDS:g} s.") from None
    return b"".join(parts)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _unless(left: "asyncio.Task[None]", work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives. Raises _Left when the client is gone first."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise _Left
    finally:
        task.cancel()


async def _refused(_request: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, Refusal) else Refusal(500, "Something unexpected happened.")
    return JSONResponse(refusal.document, refusal.status)


async def _http_error(_request: Request, error: Exception) -> Response:
    """A path or method that is not there, in the same shape."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = error.detail if isinstance(error, HTTPException) else ""
    return JSONResponse(Refusal(status, f"{said}: see docs/api.md for what is served.").document, status)
