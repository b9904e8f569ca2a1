"""The same prompt with the same seed on two models, one after the other: honest speeds, and where the answers
part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from fqconsole.generation.answer import Generation
from fqconsole.generation.options import Sampling, with_seed
from fqconsole.generation.prompt import Message
from fqconsole.generation.session import open_session


@dataclass(frozen=True)
class Comparison:
    """Two answers to one prompt. `first_difference` counts tokens from 0; None when the answers are equal."""

    first: Generation
    second: Generation
    first_difference: int | None


def compare(
    first: Path,
    second: Path,
    *,
    prompt: str | None = None,
    messages: Sequence[Message] | None = None,
    sampling: Sampling,
    device: str = "auto",
    context: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_tokens: Callable[[int, str, int, float | None], None] = lambda which, text, count, tok_s: None,
) -> Comparison:
    """Open, use and close one model, then the other, so that neither waits for the other's memory.

    `on_tokens(0 or 1, new text, tokens so far, tok/s)`. Raises what `open_session` and `Session.generate`
    raise.
    """
    sampling = with_seed(sampling)
    answers: list[Generation] = []
    for which, path in enumerate((first, second)):
        with open_session(path, device=device, context=context) as session:
            _, ids = session.render(prompt, messages)

            def tell(text: str, count: int, tok_s: float | None, which: int = which) -> None:
                on_tokens(which, text, count, tok_s)

            answers.append(session.generate(ids, sampling, stop=stop, on_tokens=tell))
    return Comparison(answers[0], answers[1], first_difference(answers[0].token_ids, answers[1].token_ids))


def first_difference(first: Sequence[int], second: Sequence[int]) -> int | None:
    """Position of the first token that differs, or at which one answer ends; None when they are equal."""
    for position, (a, b) in enumerate(zip_longest(first, second)):
        if a != b:
            return position
    return None
