"""What can be wrong with a model: one class for what lies on disk, one for what the hub answers."""

from fqconsole.errors import OperatorError

SAFETENSORS_ONLY = "Convert the weights to safetensors on a machine you trust, or pick a model that has them."


class ModelError(OperatorError):
    """The model named can't be described as it is: damaged, incomplete, or of a kind not supported."""

    exit_code = 2
    code = "model"


class HubError(OperatorError):
    """The hub could not be asked, or said no."""

    code = "hub"


def shown(word: object, limit: int = 80) -> str:
    """A word from a file, safe to print: control characters escaped, at most `limit` characters."""
    text = str(word)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
