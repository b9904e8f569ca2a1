"""What a client is told when its request can't be answered, in the shape that OpenAI's clients read."""

from typing import Any

from fqconsole.jobs.messages import JobFailed

BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_SLOW = 400, 401, 403, 404, 408
TOO_LARGE, WRONG_TYPE, BUSY, BROKEN, UNAVAILABLE = 413, 415, 429, 500, 503
_KINDS = {
    UNAUTHORIZED: "authentication_error",
    FORBIDDEN: "permission_error",
    BUSY: "rate_limit_error",
    BROKEN: "server_error",
    UNAVAILABLE: "server_error",
}
_CLIENTS_FAULT = ("usage", "failed")  # too long for the context, refused by the template, …


class Refusal(Exception):  # noqa: N818 - what it is to the client, with a status
    """`status` is HTTP's, `param` the field that is wrong, `code` a word for programs."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    @property
    def document(self) -> dict[str, Any]:
        """The body of the response."""
        kind = _KINDS.get(self.status, "invalid_request_error")
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code},
        }


def refusal_of(failed: JobFailed) -> Refusal:
    """The failure of one answer: the client's where the sentence is about what it asked for."""
    status = BAD_REQUEST if failed.code in _CLIENTS_FAULT else BROKEN
    return Refusal(status, f"{failed.what} {failed.next_step}".strip(), code=failed.code)
