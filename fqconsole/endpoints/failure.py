"""How a server fails us, as a sentence; never with the token in it."""

from typing import Any

import msgspec

from fqconsole.errors import MALFORMED, OperatorError

SAID_AT_MOST = 400  # characters of the server's own words


class EndpointError(OperatorError):
    """The server did not answer, or answered with a refusal. `status` is HTTP's, where there was one."""

    code = "endpoint"

    def __init__(self, what: str, next_step: str = "", status: int | None = None) -> None:
        super().__init__(what, next_step)
        self.status = status


def refusal(host: str, status: int, body: bytes, key_variable: str) -> EndpointError:
    """What an answer with another status than 200 means."""
    said = said_in(body)
    words = f": {said}" if said else ""
    if status in (401, 403):
        return EndpointError(
            f"The server at {host} asks for a token ({status}){words}",
            f"Put its token into the environment variable {key_variable}.",
            status,
        )
    if 300 <= status < 400:
        return EndpointError(
            f"The server at {host} sends us elsewhere ({status}).", "Give the address it really has.", status
        )
    step = {
        404: "Check the address (it mostly ends in /v1) and the model's name.",
        429: "It has too much to do: try again later.",
    }.get(status, "Its own log says more." if status >= 500 else "Change what it complains of.")
    return EndpointError(f"The server at {host} refused ({status}){words}", step, status)


def said_in(body: bytes) -> str:
    """The server's sentence, wherever its dialect puts it; one line."""
    try:
        document: Any = msgspec.json.decode(body)
    except MALFORMED:
        document = body.decode("utf-8", "replace")
    for name in ("error", "message", "detail"):
        if isinstance(document, dict) and name in document:
            document = document[name]
    if not isinstance(document, str):
        document = "" if document is None or isinstance(document, dict | list) else str(document)
    return " ".join(document.split())[:SAID_AT_MOST]
