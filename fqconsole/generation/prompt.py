"""From a prompt or a conversation to what the model really sees: the rendered text and its tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fqconsole.errors import OperatorError, UsageError

Message = tuple[str, str]  # role, content


def load_tokenizer(path: Path) -> Any:
    """The tokenizer that lies in a model's folder; no code from the folder runs.

    Raises OperatorError when there is none or it can't be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise OperatorError(
            f"The tokenizer of {path} can't be loaded: {first_line}",
            "Copy tokenizer.json and tokenizer_config.json of the model into the folder.",
        ) from error


def has_chat_template(tokenizer: Any) -> bool:
    """Whether the model was taught a conversation format that its tokenizer knows."""
    return bool(getattr(tokenizer, "chat_template", None))


def render(
    tokenizer: Any, *, prompt: str | None = None, messages: Sequence[Message] | None = None
) -> tuple[str, list[int]]:
    """The text the model sees, special tokens visible, and its token ids.

    A plain `prompt` is tokenized as the tokenizer does by default; `messages` go through the chat template.
    Raises UsageError when not exactly one of the two is given, when the prompt is empty, or when there are
    messages but no template; OperatorError when the template refuses the messages.
    """
    if (prompt is None) == (messages is None):
        raise UsageError("Give either a prompt or messages.", "Leave one of the two out.")
    if messages is not None:
        rendered = _apply_template(tokenizer, messages)
        ids = tokenizer(rendered, add_special_tokens=False, verbose=False)["input_ids"]
    else:
        ids = tokenizer(prompt, verbose=False)["input_ids"]
        rendered = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if not ids:
        raise UsageError("The prompt is empty.", "Write at least one word for the model to go on from.")
    return rendered, list(ids)


def _apply_template(tokenizer: Any, messages: Sequence[Message]) -> str:
    if not has_chat_template(tokenizer):
        raise UsageError("This model has no chat template.", "Send a plain prompt; the model continues it.")
    if not messages:
        raise UsageError("The conversation is empty.", "Send at least one message.")
    turns = [{"role": role, "content": content} for role, content in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program of the model's author and may raise anything
        raise OperatorError(
            f"The model's chat template refuses this conversation: {error}",
            "Leave out the system message, or let the roles alternate between user and assistant.",
        ) from error
