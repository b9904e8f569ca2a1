"""A text cut into windows: each is read on its own, and every token is scored in one of them."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fqconsole.errors import UsageError

CHARACTERS = 8  # of a token, at first
MARGIN = 64  # tokens before a cut that the cut may have changed


def tokenize(tokenizer: Any, text: str, most: int) -> tuple[list[int], int | None]:
    """The first `most` tokens of `text` without special ones, and the token that the tokenizer puts before a
    text (None: none). Of a long text only as much is read as that takes.
    """
    size = CHARACTERS * (most + MARGIN)
    while True:
        ids = list(tokenizer(text[:size], add_special_tokens=False, verbose=False)["input_ids"])
        if size >= len(text) or len(ids) >= most + MARGIN:
            break
        size *= 2
    bos = tokenizer.bos_token_id
    starts_with_bos = bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]
    return ids[:most], bos if starts_with_bos else None


class Window(NamedTuple):
    """A stretch of text; the first `given` tokens are context and are not scored (never none of them)."""

    tokens: list[int]
    given: int


def cut_windows(ids: Sequence[int], window: int, bos: int | None = None) -> list[Window]:
    """Windows of at most `window` tokens in which each token of the text is scored once, in order.

    After the first, a window begins with the last `window // 8` tokens of the one before as context: a window
    that begins in the middle of a sentence with nothing before it would measure the cut and not the model.
    With `bos`, each window begins with it; without, the text's first token is not scored. Raises UsageError
    when the window or the text is too short to predict anything.
    """
    if window < 2:
        raise UsageError(
            f"A window of {window} tokens predicts nothing.", "Use a window of at least 2 tokens."
        )
    head = [] if bos is None else [bos]
    overlap = max(window // 8, 1 - len(head))
    windows = []
    at = 1 - len(head)
    while at < len(ids):
        given = head + list(ids[max(0, at - overlap) : at])
        body = list(ids[at : at + window - len(given)])
        windows.append(Window(given + body, len(given)))
        at += len(body)
    if not windows:
        raise UsageError(
            f"The text has {len(ids)} tokens, too few to evaluate on.",
            "Use a text of at least a few sentences.",
        )
    return windows


def batches(windows: Sequence[Window], size: int) -> Iterator[tuple[Tensor, int]]:
    """Windows of one shape together, at most `size` at a time and in order: int64 `[B, T]` and `given`."""
    for (given, _), alike in groupby(windows, key=lambda piece: (piece.given, len(piece.tokens))):
        pieces = [piece.tokens for piece in alike]
        for at in range(0, len(pieces), size):
            yield torch.tensor(pieces[at : at + size]), given


def scored_tokens(windows: Sequence[Window]) -> int:
    """How many tokens are predicted."""
    return sum(len(piece.tokens) - piece.given for piece in windows)
