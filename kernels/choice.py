"""The next token of each row of logits, chosen on the device.

    repetition penalty → temperature → top-k → top-p → min-p → draw

as `fqconsole.generation.sampling` does for one row: greedy takes the largest logit; a draw takes the largest
p[v] / noise[v], which for noise from an exponential distribution is a draw from p, and the very draw of
`torch.multinomial` where the noise is what it would have drawn: `torch.empty(V).exponential_(1)`.

A token stays under top-k if fewer than k are more likely, and under top-p if the more likely ones together
hold less than p of what top-k left. Equal logits stay or go together, whatever the order they are sorted in.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.device import runs_triton

REMOVED = float("-inf")


@dataclass(frozen=True, eq=False)
class Filters:
    """How each of B rows is sampled: tensors `[B]` on the logits' device, which a captured graph reads.

    None: off for every row, and not even looked at. `temperature` float32, 0: this row is greedy, None: all
    are. `top_k` int32, 0: off; `top_p` float32, 1: off; `min_p` float32, 0: off; `penalty` float32, 1: off.
    """

    temperature: Tensor | None = None
    top_k: Tensor | None = None
    top_p: Tensor | None = None
    min_p: Tensor | None = None
    penalty: Tensor | None = None

    @property
    def greedy(self) -> bool:
        """Whether no row is drawn."""
        return self.temperature is None


GREEDY = Filters()


def choose(
    logits: Tensor, filters: Filters = GREEDY, noise: Tensor | None = None, seen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """logits `[B, V]` → (tokens int64 `[B]`, bad bool `[B]`: a NaN was among the row's logits).

    `noise` float32 `[B, V]`, positive, where anything is drawn. `seen` uint8 `[B, V]`, 1 for tokens of prompt
    and answer: the penalty's; the chosen token is marked in it. Of equal logits the smallest id wins.
    Nothing waits for the device. Raises ValueError where noise or seen are missing or shapes do not fit.
    """
    if logits.dim() != 2 or (filters.temperature is not None) != (noise is not None):
        raise ValueError("logits are [B, V], and a temperature needs noise")
    if filters.penalty is not None and seen is None:
        raise ValueError("a repetition penalty needs the tokens seen so far")
    if any(part is not None and part.shape != logits.shape for part in (noise, seen)):
        raise ValueError(f"noise and seen tokens must be {list(logits.shape)} like the logits")
    if runs_triton(logits.device):
        from kernels.choice_kernel import choose_on_gpu

        return choose_on_gpu(logits, filters, noise, seen)
    return choose_plain(logits, filters, noise, seen)


def choose_plain(
    logits: Tensor, filters: Filters = GREEDY, noise: Tensor | None = None, seen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same in plain torch."""
    bad = logits.isnan().any(-1)
    shaped = logits.float()
    if filters.penalty is not None and seen is not None:
        penalty = filters.penalty[:, None]
        worse = torch.where(shaped > 0, shaped / penalty, shaped * penalty)
        shaped = torch.where(seen != 0, worse, shaped)
    tokens = shaped.argmax(-1)
    if filters.temperature is not None and noise is not None:
        drawn = filters.temperature > 0
        warm = shaped / torch.where(drawn, filters.temperature, 1.0)[:, None]
        tokens = torch.where(drawn, draw(filtered(warm, filters), noise), tokens)
    if seen is not None:
        seen.scatter_(1, tokens[:, None], 1)
    return tokens, bad


def filtered(shaped: Tensor, filters: Filters) -> Tensor:
    """Logits `[B, V]` after temperature, -inf where top-k, top-p or min-p remove a token."""
    if filters.top_k is not None or filters.top_p is not None:
        ordered, order = shaped.sort(-1, descending=True)
        if filters.top_k is not None:
            count = ordered.shape[-1]
            kept = torch.where(filters.top_k > 0, filters.top_k.clamp(max=count), count).long()
            ordered = ordered.masked_fill(ordered < ordered.gather(-1, kept[:, None] - 1), REMOVED)
        if filters.top_p is not None:
            shares = ordered.softmax(-1)
            before = shared_among_equals(ordered, shares.cumsum(-1) - shares)
            dropped = (before >= filters.top_p[:, None]) & (filters.top_p[:, None] < 1)
            dropped[:, 0] = False
            ordered = ordered.masked_fill(dropped, REMOVED)
        shaped = torch.empty_like(shaped).scatter_(-1, order, ordered)
    if filters.min_p is not None:
        shares = shaped.softmax(-1)
        least = filters.min_p[:, None] * shares.amax(-1, keepdim=True)
        shaped = shaped.masked_fill(shares < least, REMOVED)
    return shaped


def shared_among_equals(ordered: Tensor, before: Tensor) -> Tensor:
    """`before` `[B, V]` of the first among equal logits, for all of them; rows in descending order."""
    place = torch.arange(ordered.shape[-1], device=ordered.device).expand_as(ordered)
    again = torch.zeros_like(ordered, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return before.gather(-1, place.masked_fill(again, 0).cummax(-1).values)


def draw(shaped: Tensor, noise: Tensor) -> Tensor:
    """The token of each row `[B]` with the largest p / noise."""
    return (shaped.softmax(-1) / noise).argmax(-1)
