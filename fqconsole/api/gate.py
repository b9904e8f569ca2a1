"""Who may ask: only requests for this machine by name, from no foreign web page, with the token.

A page in the operator's browser can reach a server on loopback, by a host name that was made to point here
(DNS rebinding) or by a plain cross-site request. The first has a foreign Host, the second a foreign Origin.
"""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse

from fqconsole.api.refusal import FORBIDDEN, UNAUTHORIZED, Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
OPEN_PATHS = ("/health",)  # says nothing but that the server is up


class Gate:
    """Lets through what may pass; `token` None asks for none."""

    def __init__(self, inner: Application, token: str | None) -> None:
        self._inner = inner
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                headers = {"WWW-Authenticate": "Bearer"} if refusal.status == UNAUTHORIZED else None
                response = JSONResponse(refusal.document, refusal.status, headers)
                await response(scope, receive, send)
                return
        await self._inner(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not _is_local(f"//{headers.get(b'host', '')}"):
            return Refusal(FORBIDDEN, "This server answers to localhost and 127.0.0.1 only.", code="host")
        if b"origin" in headers and not _is_local(headers[b"origin"]):
            return Refusal(FORBIDDEN, "This server does not answer to web pages.", code="origin")
        if self._token is None or scope["path"] in OPEN_PATHS:
            return None
        kind, _, given = headers.get(b"authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1"), self._token.encode())
        if kind.lower() == "bearer" and right:
            return None
        return Refusal(
            UNAUTHORIZED,
            "The token is missing or wrong: send it as Authorization: Bearer TOKEN.",
            code="invalid_api_key",
        )


def _is_local(address: str) -> bool:
    try:
        return urlsplit(address).hostname in LOCAL_NAMES
    except ValueError:
        return False
