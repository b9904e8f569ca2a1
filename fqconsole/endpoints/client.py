"""HTTP to an OpenAI-compatible server: its models, and one streamed answer at a time. Standard library only.

It goes straight to the address: no proxy, no redirect, so that a token reaches no one else.
"""

import contextlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from fqconsole.endpoints.address import KEY_VARIABLE, Address
from fqconsole.endpoints.failure import EndpointError, refusal, said_in
from fqconsole.errors import MALFORMED

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0  # a server may queue us behind others and read a long prompt first
STOP_SECONDS = 0.05  # how often it is looked whether the answer is still wanted
LINE_AT_MOST = 2**20  # bytes of one event
BODY_AT_MOST = 2**22
ANSWER_AT_MOST = 2**26
# The last for a chunk whose size no machine can count to.
_BROKEN = (OSError, http.client.HTTPException, ValueError, OverflowError)


@dataclass(frozen=True)
class ServedModel:
    """`context` None: the server does not say."""

    name: str
    context: int | None


@dataclass(frozen=True)
class Piece:
    """A part of an answer: new text, why it ended, and the server's count of tokens, each where told."""

    text: str = ""
    finish: str | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None


class EndpointClient:
    """Talks to the server at `address`; the token is read from the environment variable `key_variable`."""

    def __init__(self, address: Address, key_variable: str = KEY_VARIABLE) -> None:
        parts = urlsplit(address.url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._path = parts.path
        self._key_variable = key_variable
        self.host = address.host

    def healthy(self) -> bool:
        """Whether the server says that it is up, on the path that vLLM and SGLang have for it."""
        try:
            with self._request("GET", "/health", root=True, seconds=CONNECT_SECONDS) as answer:
                return answer.status == http.HTTPStatus.OK
        except EndpointError:
            return False

    def models(self) -> list[ServedModel]:
        """What is served. Raises EndpointError."""
        with self._request("GET", "/models", seconds=CONNECT_SECONDS) as answer:
            document = self._document(answer)
        cards = document.get("data") if isinstance(document, dict) else None
        if not isinstance(cards, list):
            raise self._nonsense()
        return [
            ServedModel(str(card["id"]), _whole(card.get("max_model_len")))
            for card in cards
            if isinstance(card, dict) and card.get("id")
        ]

    def ask(self, path: str, body: Mapping[str, Any]) -> None:
        """One request whose answer does not matter. Raises EndpointError with the status it got."""
        with self._request("POST", path, body, seconds=SILENCE_SECONDS) as answer:
            self._document(answer)

    def answer(self, path: str, body: Mapping[str, Any], *, stop: Callable[[], bool]) -> Iterator[Piece]:
        """The pieces of a streamed answer, until it ends or `stop` says so. Raises EndpointError."""
        stopped = threading.Event()
        try:
            with self._request(
                "POST", path, {**body, "stream": True}, seconds=SILENCE_SECONDS, unless=(stop, stopped)
            ) as answer:
                self._require_ok(answer)
                for data in self._events(answer):
                    if stopped.is_set():
                        return
                    yield self._piece(data)
        except EndpointError:
            if not stopped.is_set():
                raise

    def _events(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        """The data of each event of the stream, up to its end."""
        total = 0
        while line := self._line(answer):
            total += len(line)
            if total > ANSWER_AT_MOST or len(line) == LINE_AT_MOST:
                raise self._nonsense()
            name, _, data = line.partition(b":")
            if name != b"data":
                continue  # a comment that keeps the connection open, or an event's name
            if data.strip() == b"[DONE]":
                return
            yield data

    def _line(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.readline(LINE_AT_MOST)
        except _BROKEN as error:
            raise self._lost(error) from None

    def _piece(self, data: bytes) -> Piece:
        try:
            chunk = msgspec.json.decode(data)
        except MALFORMED:
            raise self._nonsense() from None
        if not isinstance(chunk, dict):
            raise self._nonsense()
        if chunk.get("error"):
            raise EndpointError(
                f"The server at {self.host} failed: {said_in(data)}", "Its own log says more."
            )
        usage = chunk.get("usage")
        counts = usage if isinstance(usage, dict) else {}
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        if not isinstance(choice, dict):
            raise self._nonsense()
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
        finish = choice.get("finish_reason")
        return Piece(
            text=text if isinstance(text, str) else "",
            finish=finish if isinstance(finish, str) else None,
            prompt_tokens=_whole(counts.get("prompt_tokens")),
            new_tokens=_whole(counts.get("completion_tokens")),
        )

    @contextlib.contextmanager
    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        seconds: float,
        root: bool = False,
        unless: tuple[Callable[[], bool], threading.Event] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """One request. `unless`: the connection is cut when the first says so, and the second is set then."""
        payload = None if body is None else msgspec.json.encode(body)
        connection = self._connection()
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            try:
                connection.connect()
                connection.sock.settimeout(seconds)
                if unless is not None:
                    stack.enter_context(_cut_off(connection.sock, *unless))
                target = path if root else f"{self._path}{path}"
                connection.request(method, target, payload, self._headers(payload))
                answer = connection.getresponse()
            except _BROKEN as error:
                raise self._lost(error) from None
            yield answer

    def _headers(self, payload: bytes | None) -> dict[str, str]:
        headers = {"Accept": "application/json, text/event-stream"}
        if payload is not None:
            headers["Content-Type"] = "application/json"
        key = os.environ.get(self._key_variable, "").strip()
        if key:
            if not (key.isascii() and key.isprintable()):
                raise EndpointError(
                    f"The token in {self._key_variable} holds characters that no header can.",
                    "Set it again: it may be cut, or have a line break in it.",
                )
            headers["Authorization"] = f"Bearer {key}"
        return headers

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_SECONDS, context=context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)

    def _require_ok(self, answer: http.client.HTTPResponse) -> None:
        if answer.status != http.HTTPStatus.OK:
            raise refusal(self.host, answer.status, self._read(answer), self._key_variable)

    def _document(self, answer: http.client.HTTPResponse) -> Any:
        self._require_ok(answer)
        try:
            return msgspec.json.decode(self._read(answer))
        except MALFORMED:
            raise self._nonsense() from None

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.read(BODY_AT_MOST)
        except _BROKEN as error:
            raise self._lost(error) from None

    def _lost(self, error: Exception) -> EndpointError:
        """A connection that failed; an exception's text never holds a header."""
        if isinstance(error, TimeoutError):
            return EndpointError(
                f"The server at {self.host} says nothing.", "See whether it is alive, then ask again."
            )
        if isinstance(error, ConnectionRefusedError):
            return EndpointError(
                f"Nothing answers at {self.host}.", "Start the server, or check the address and the port."
            )
        said = getattr(error, "strerror", None) or type(error).__name__
        return EndpointError(
            f"The connection to {self.host} failed: {said}.", "Check the address and the server."
        )

    def _nonsense(self) -> EndpointError:
        return EndpointError(
            f"The server at {self.host} sent something that is no answer.",
            "Check that the address is the base URL of an OpenAI-compatible server.",
        )


@contextlib.contextmanager
def _cut_off(line: socket.socket, stop: Callable[[], bool], stopped: threading.Event) -> Iterator[None]:
    """Shut the connection under a reader that waits, when `stop` says so."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(STOP_SECONDS):
            if stop():
                stopped.set()
                with contextlib.suppress(OSError):
                    # The plain socket's, also under TLS: the reader must not find its session gone.
                    socket.socket.shutdown(line, socket.SHUT_RDWR)
                return

    watcher = threading.Thread(target=watch, name="stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
