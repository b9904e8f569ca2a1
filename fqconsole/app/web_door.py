"""Who may see a served console: this machine only, by a link that works once, from no foreign page.

A page on the internet can make a browser ask for 127.0.0.1, under a name of its own (DNS rebinding) or by a
plain cross-site request: the first has a foreign Host, the second a foreign Origin. Both are refused first.
"""

import hmac
import secrets
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
TOKEN = "token"  # noqa: S105 - the name of a parameter
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class Door:
    """Lets in who brings the present token, once, and knows them by a cookie afterwards.

    `on_used` is called when a link was used up, so that the operator can be told the next one.
    """

    def __init__(self, on_used: Callable[[], None]) -> None:
        self._on_used = on_used
        self._token = secrets.token_urlsafe(24)
        self._inside: set[str] = set()
        self.cookie = f"fqconsole_{secrets.token_hex(4)}"  # cookies of other ports of this machine stay apart

    @property
    def token(self) -> str:
        """What the next link must hold."""
        return self._token

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuses with 403; a right link becomes a cookie and an address without the token."""
        self._refuse_foreign(request)
        given = request.query.get(TOKEN, "")
        if given:
            return self._entered(given)
        known = request.cookies.get(self.cookie, "")
        if not any(hmac.compare_digest(known, inside) for inside in self._inside):
            raise web.HTTPForbidden(text="Open the link that `fqconsole serve` printed; each works once.")
        response = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = POLICY
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["Cache-Control"] = "no-store"
        return response

    def _refuse_foreign(self, request: web.Request) -> None:
        host = request.headers.get("Host", "")
        if host_name(host) not in LOOPBACK:
            raise web.HTTPForbidden(text="This server answers only for this machine: localhost or 127.0.0.1.")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise web.HTTPForbidden(text="Another page may not use this server.")
        if request.headers.get("Upgrade", "").lower() == "websocket" and origin is None:
            raise web.HTTPForbidden(text="A window must say which page it belongs to.")

    def _entered(self, given: str) -> web.StreamResponse:
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise web.HTTPForbidden(
                text="This link was used already. `fqconsole serve` printed the next one."
            )
        self._token = secrets.token_urlsafe(24)
        known = secrets.token_urlsafe(24)
        self._inside.add(known)
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(self.cookie, known, httponly=True, samesite="Strict", path="/")
        self._on_used()
        return response


def host_name(host: str) -> str:
    """The name in a Host header, without the port; an IPv6 address keeps its brackets."""
    name, _colon, port = host.rpartition(":")
    return name if name and port.isdigit() else host
