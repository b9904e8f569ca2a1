"""A text cut into windows: each is scored on its own, every token but its first is predicted once."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fqconsole.errors import UsageError


def tokenize(tokenizer: Any, text: str) -> tuple[list[int], int | None]:
    """The tokens of `text` without special ones, and the token that the tokenizer puts before a text (None:
    none).
    """
    ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    bos = tokenizer.bos_token_id
    starts_with_bos = bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]
    return ids, bos if starts_with_bos else None


def cut_windows(ids: Sequence[int], window: int, bos: int | None = None) -> list[list[int]]:
    """Non-overlapping windows of `window` tokens; the last may be shorter but never a single token.

    With `bos`, each window begins with it and holds one token of the text less, as the model was trained to
    see a text. Raises UsageError when the window or the text is too short to predict anything.
    """
    if window < 2:
        raise UsageError(
            f"A window of {window} tokens predicts nothing.", "Use a window of at least 2 tokens."
        )
    head = [] if bos is None else [bos]
    step = window - len(head)
    windows = [head + list(ids[at : at + step]) for at in range(0, len(ids), step)]
    windows = [piece for piece in windows if len(piece) > 1]
    if not windows:
        raise UsageError(
            f"The text has {len(ids)} tokens, too few to evaluate on.",
            "Use a text of at least a few sentences.",
        )
    return windows


def batches(windows: Sequence[Sequence[int]], size: int) -> Iterator[Tensor]:
    """Windows of equal length together, at most `size` at a time: int64 `[B, T]`, in order."""
    batch: list[Sequence[int]] = []
    for piece in windows:
        if batch and (len(batch) == size or len(piece) != len(batch[0])):
            yield torch.tensor(batch)
            batch = []
        batch.append(piece)
    if batch:
        yield torch.tensor(batch)


def scored_tokens(windows: Sequence[Sequence[int]]) -> int:
    """How many tokens are predicted: all but the first of each window."""
    return sum(len(piece) - 1 for piece in windows)
