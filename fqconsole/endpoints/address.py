"""The address of a served model as one word: `http://127.0.0.1:8000/v1`, its name after a # if need be."""

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from fqconsole.errors import UsageError

SCHEMES = ("http", "https")
KEY_VARIABLE = "FQCONSOLE_ENDPOINT_KEY"  # holds the token, where the server wants one
_MOST_CHARACTERS = 2048


@dataclass(frozen=True)
class Address:
    """`url` is the base that clients call base URL; `model` None is the only one served there."""

    url: str
    model: str | None = None

    def __str__(self) -> str:
        return self.url if self.model is None else f"{self.url}#{quote(self.model, safe='/:')}"

    @property
    def host(self) -> str:
        """Host and port, as the operator reads them."""
        return urlsplit(self.url).netloc


def is_address(word: str) -> bool:
    """Whether a word that names a model means a server."""
    return word.lower().startswith(("http://", "https://"))


def parse_address(word: str, model: str | None = None) -> Address:
    """The address that `word` writes; `model` wins over a name after the #.

    Raises UsageError: no http(s), no host, a password in it, a query.
    """
    step = "Write it as http://127.0.0.1:8000/v1."
    try:
        parts = urlsplit(word)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"The address {word[:200]!r} can't be read: {error}.", step) from None
    if parts.username is not None or parts.password is not None:
        # The address is shown and kept; the token must not be in it.
        raise UsageError(
            "The address holds a user name or a password.", f"Put the token into {KEY_VARIABLE}."
        )
    plain = word.isascii() and word.isprintable() and " " not in word and len(word) <= _MOST_CHARACTERS
    if parts.scheme not in SCHEMES or not host or parts.query or not plain:
        raise UsageError(f"{word[:200]!r} is no address of a server.", step)
    path = parts.path.rstrip("/") or "/v1"
    named = model or unquote(parts.fragment) or None
    return Address(f"{parts.scheme}://{parts.netloc}{path}", named)
