"""What is measured, as pure functions on log-probabilities: natural logarithms, sums in float64."""

import math

import torch
from torch import Tensor


class Totals:
    """Running sums over scored tokens."""

    def __init__(self) -> None:
        self.tokens = 0
        self.loss = 0.0
        self.divergence = 0.0
        self.agreements = 0

    @property
    def perplexity(self) -> float:
        """exp of the mean loss; NaN before the first token, infinite where it overflows."""
        if not self.tokens:
            return math.nan
        try:
            return math.exp(self.loss / self.tokens)
        except OverflowError:
            return math.inf

    @property
    def kl_divergence(self) -> float:
        return self.divergence / self.tokens if self.tokens else math.nan

    @property
    def top1_agreement(self) -> float:
        return self.agreements / self.tokens if self.tokens else math.nan


def log_probabilities(logits: Tensor) -> Tensor:
    """log softmax over the last axis, in float32 (a 16-bit floor would hide a small divergence)."""
    return torch.log_softmax(logits.float(), dim=-1)


def loss_sum(logp: Tensor, targets: Tensor) -> float:
    """Σ −log p(target): `logp` float32 `[B, T, V]`, `targets` int64 `[B, T]`."""
    return -float(logp.gather(-1, targets.unsqueeze(-1)).double().sum())


def divergence_sum(reference: Tensor, logp: Tensor) -> float:
    """Σ over positions of KL(reference ‖ model) = Σ_v p(v) (log p(v) − log q(v)); both float32 `[B, T, V]`.

    A token that the reference gives no chance at all (log p = −inf) adds nothing.
    """
    terms = reference.exp() * (reference - logp)
    return float(terms.masked_fill_(torch.isneginf(reference), 0.0).sum(dim=-1).double().sum())


def agreement_count(reference: Tensor, logp: Tensor) -> int:
    """Positions at which both models find the same token most likely; both `[B, T, V]`."""
    return int((reference.argmax(dim=-1) == logp.argmax(dim=-1)).sum())
