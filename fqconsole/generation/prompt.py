"""From a prompt or a conversation to what the model really sees: the rendered text and its tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fqconsole.errors import OperatorError, UsageError
from fqconsole.generation.template_bounds import TEXT_AT_MOST, TemplateTooLongError, bounded

Message = tuple[str, str]  # role, content
SAID_AT_MOST = 300  # characters of what a library or a template says


def load_tokenizer(path: Path) -> Any:
    """The tokenizer that lies in a model's folder; no code from the folder runs.

    Raises OperatorError when there is none or it can't be read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:  # the library raises all sorts for files that are not what it expects
        raise OperatorError(
            f"The tokenizer of {path} can't be loaded: {_first_line(error)}",
            "Copy tokenizer.json and tokenizer_config.json of the model into the folder.",
        ) from error
    if not isinstance(tokenizer.model_max_length, int | float):
        # It is compared with every prompt's length.
        raise OperatorError(
            f"The tokenizer of {path} can't be loaded: its model_max_length is no number.",
            "Copy tokenizer_config.json of the model into the folder.",
        )
    return tokenizer


def has_chat_template(tokenizer: Any) -> bool:
    """Whether the model was taught a conversation format that its tokenizer knows."""
    return bool(getattr(tokenizer, "chat_template", None))


def render(
    tokenizer: Any, *, prompt: str | None = None, messages: Sequence[Message] | None = None
) -> tuple[str, list[int]]:
    """The text the model sees, special tokens visible, and its token ids.

    A plain `prompt` is tokenized as the tokenizer does by default; `messages` go through the chat template.
    Raises UsageError when not exactly one of the two is given, when the prompt is empty or no text, or when
    there are messages but no template; OperatorError when the template refuses the messages or does not end.
    """
    if (prompt is None) == (messages is None):
        raise UsageError("Give either a prompt or messages.", "Leave one of the two out.")
    _refuse_half_characters(
        [prompt] if prompt is not None else [text for turn in messages or () for text in turn]
    )
    if messages is not None:
        rendered = _apply_template(tokenizer, messages)
        ids = _encode(tokenizer, rendered, add_special_tokens=False)
    else:
        ids = _encode(tokenizer, prompt or "", add_special_tokens=True)
        rendered = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if not ids:
        raise UsageError("The prompt is empty.", "Write at least one word for the model to go on from.")
    return rendered, list(ids)


def _encode(tokenizer: Any, text: str, *, add_special_tokens: bool) -> list[int]:
    try:
        return list(tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)["input_ids"])
    except (TypeError, ValueError) as error:
        raise OperatorError(
            f"The model's tokenizer fails on this text: {_first_line(error)}",
            "Copy tokenizer.json and tokenizer_config.json of the model into the folder again.",
        ) from error


def _refuse_half_characters(texts: Sequence[str]) -> None:
    """A terminal's bytes that are no UTF-8, or half of a pair from JSON: no tokenizer takes them."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError("The prompt holds bytes that are no text.", "Write it as UTF-8.") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:SAID_AT_MOST] if lines else type(error).__name__


def _apply_template(tokenizer: Any, messages: Sequence[Message]) -> str:
    if not has_chat_template(tokenizer):
        raise UsageError("This model has no chat template.", "Send a plain prompt; the model continues it.")
    if not messages:
        raise UsageError("The conversation is empty.", "Send at least one message.")
    turns = [{"role": role, "content": content} for role, content in messages]
    try:
        with bounded():
            rendered = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except (TemplateTooLongError, MemoryError) as error:
        raise _endless("never comes to an end") from error
    except Exception as error:  # a template is a program of the model's author and may raise anything
        if isinstance(error.__context__, TemplateTooLongError | MemoryError):
            raise _endless("never comes to an end") from error
        raise OperatorError(
            f"The model's chat template refuses this conversation: {_first_line(error)}",
            "Leave out the system message, or let the roles alternate between user and assistant.",
        ) from error
    if len(rendered) > TEXT_AT_MOST:
        raise _endless(f"writes {len(rendered)} characters")
    _refuse_half_characters([rendered])
    return rendered


def _endless(does: str) -> OperatorError:
    return OperatorError(
        f"The model's chat template {does}.",
        "Send a plain prompt, or take the template of the original model.",
    )
