"""From logits to the next token, written out: pure functions on one row of logits `[V]`, in the order in
which they are applied. What runs is `kernels.choose`, for many rows at once; these say what it must give.

repetition penalty → temperature → top-k → top-p → min-p → draw. A token that a filter removes has the logit
-inf.
"""

import torch
from torch import Tensor

from fqconsole.generation.options import Sampling

REMOVED = float("-inf")


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make the tokens in `seen` (int64 `[S]`, prompt and answer so far) less likely.

    A positive logit is divided by `penalty`, a negative one multiplied (CTRL, arXiv 1909.05858, section 4.1).
    """
    if penalty == 1.0 or seen.numel() == 0:
        return logits
    found = logits[seen]
    return logits.index_put((seen,), torch.where(found > 0, found / penalty, found * penalty))


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` largest logits (ties with the smallest kept one stay); 0 keeps all."""
    if k == 0 or k >= logits.numel():
        return logits
    floor = torch.topk(logits, k).values[-1]
    return logits.masked_fill(logits < floor, REMOVED)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of most likely tokens whose probability reaches `p`; always at least one; 1 keeps
    all.
    """
    if p >= 1.0:
        return logits
    ordered, order = torch.sort(logits, descending=True)
    probabilities = torch.softmax(ordered, dim=-1)
    before = torch.cumsum(probabilities, dim=-1) - probabilities  # what the more likely tokens hold already
    dropped = before >= p
    dropped[0] = False
    return logits.masked_fill(torch.zeros_like(dropped).scatter(0, order, dropped), REMOVED)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep tokens at least `p` times as likely as the most likely one; 0 keeps all."""
    if p <= 0.0:
        return logits
    probabilities = torch.softmax(logits, dim=-1)
    return logits.masked_fill(probabilities < p * probabilities.max(), REMOVED)


def shape_logits(logits: Tensor, sampling: Sampling, seen: Tensor) -> Tensor:
    """Every filter of `sampling` in order on float32 logits `[V]`; greedy: the penalty only."""
    logits = penalize_repetition(logits, seen, sampling.repetition_penalty)
    if sampling.greedy:
        return logits
    logits = logits / sampling.temperature
    return keep_min_p(keep_top_p(keep_top_k(logits, sampling.top_k), sampling.top_p), sampling.min_p)


def choose_token(
    logits: Tensor, sampling: Sampling, seen: Tensor, generator: torch.Generator | None
) -> Tensor:
    """The next token, int64 `[1]` on the logits' device.

    `logits` float32 `[V]`; `seen` int64 `[S]` prompt and answer so far; `generator` on the same device, None
    when greedy.
    """
    shaped = shape_logits(logits, sampling, seen)
    if sampling.greedy:
        return shaped.argmax(dim=-1, keepdim=True)
    return torch.multinomial(torch.softmax(shaped, dim=-1), 1, generator=generator)
