"""What a session thinks of given continuations, many at a time, and how it goes on by itself.

Log-likelihoods are sums over the continuation's tokens of log p(token | all before it), natural logarithm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fqconsole.errors import OperatorError
from fqconsole.evaluation.measures import log_probabilities
from fqconsole.generation.batch import LARGEST_BATCH
from fqconsole.generation.options import Sampling
from fqconsole.generation.session import Session

BATCH_BYTES = 64 << 20  # float32 logits of one forward, as in `scoring`
ANSWERS_AT_A_TIME = 16

Told = Callable[[int], None]  # told how many are finished


@dataclass(frozen=True)
class Continuation:
    """`log_likelihood` of the tokens; `greedy`: each was the most likely one."""

    log_likelihood: float
    greedy: bool


def longest_input(session: Session) -> int:
    """Tokens that the model reads at a time."""
    return session.max_context or session.context


def score_continuations(
    session: Session,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch: int | None = None,
    told: Told = lambda count: None,
) -> list[Continuation]:
    """Score each (context, continuation), both token ids, neither empty; in the order given.

    What is longer than the model reads loses the start of its context. `batch`: most sequences at a time; as
    many as fit into 64 MiB of logits where None. Raises OperatorError for logits that are no numbers.
    """
    longest = longest_input(session) + 1  # the last token is scored and not read
    cut = [((*context, *rest)[-longest:], len(rest)) for context, rest in pairs]
    order = sorted(range(len(cut)), key=lambda index: -len(cut[index][0]))
    found: dict[int, Continuation] = {}
    while len(found) < len(cut):
        start = len(found)
        width = max(1, len(cut[order[start]][0]) - 1)
        fits = max(1, BATCH_BYTES // (width * session.vocab_size * 4))
        chosen = order[start : start + min(fits, batch or fits)]
        scored = _score(session, [cut[index] for index in chosen], width)
        found |= dict(zip(chosen, scored, strict=True))
        told(len(found))
    return [found[index] for index in range(len(cut))]


def _score(session: Session, pieces: list[tuple[Sequence[int], int]], width: int) -> list[Continuation]:
    # What is filled up at the end is read by nothing before it: the models are causal.
    ids = torch.zeros((len(pieces), width), dtype=torch.int64)
    for row, (tokens, _) in enumerate(pieces):
        ids[row, : len(tokens) - 1] = torch.tensor(tokens[:-1])
    logits = session.logits(ids)
    scored = []
    for row, (tokens, asked) in enumerate(pieces):
        end = len(tokens) - 1
        count = min(asked, end)
        scored.append(_of_targets(session, logits[row, end - count : end], torch.tensor(tokens[-count:])))
    return scored


def _of_targets(session: Session, logits: Tensor, targets: Tensor) -> Continuation:
    """`logits` `[T, V]` before each of the `targets` `[T]`."""
    if bool(logits.isnan().any()):
        raise OperatorError(
            f"The output of {session.path} is not a number (NaN).",
            "Quantize again with finer groups or more bits.",
        )
    logp = log_probabilities(logits)
    targets = targets.to(logp.device)
    likely = logp.gather(-1, targets[:, None]).double().sum()
    return Continuation(float(likely), bool((logp.argmax(dim=-1) == targets).all()))


def go_on(
    session: Session,
    texts: Sequence[str],
    *,
    until: Sequence[str],
    most_tokens: int,
    batch: int | None = None,
    told: Told = lambda count: None,
) -> list[str]:
    """The greedy continuation of each text, up to the first of `until`; in the order given.

    A text that is too long for the session's context loses its start. `batch`: most texts at a time.
    """
    room = max(1, session.context - most_tokens)
    prompts = [list(session.tokenizer(text)["input_ids"])[-room:] for text in texts]
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))  # alike lengths together
    sampling = Sampling(temperature=0.0, max_new_tokens=most_tokens, stop=tuple(filter(None, until)))
    made: dict[int, str] = {}
    size = min(batch or ANSWERS_AT_A_TIME, LARGEST_BATCH)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        answers = session.generate_batch([prompts[index] for index in chosen], sampling)
        made |= {index: answer.text for index, answer in zip(chosen, answers, strict=True)}
        told(len(made))
    return [_until(made[index], sampling.stop) for index in range(len(prompts))]


def _until(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop, maxsplit=1)[0]
    return text
