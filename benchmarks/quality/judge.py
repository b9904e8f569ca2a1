"""One 16-bit model against many remade ones: its predictions are made once and wait on disk."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fqconsole import paths
from fqconsole.evaluation.measures import Totals, agreement_count, divergence_sum, log_probabilities, loss_sum
from fqconsole.evaluation.scoring import BATCH_BYTES
from fqconsole.evaluation.spool import Spool, check_disk, spool_bytes
from fqconsole.evaluation.windows import batches, cut_windows, scored_tokens, tokenize
from fqconsole.generation.prompt import load_tokenizer
from fqconsole.generation.session import Session, open_session

WINDOW = 512


@dataclass(frozen=True)
class Score:
    """Means over the scored tokens, natural logarithm."""

    perplexity: float
    kl_divergence: float
    top1_agreement: float


class Judge:
    """Knows what `reference` predicts on `text`; a context manager."""

    def __init__(self, reference: Path, text: str, tokens: int, device: str) -> None:
        ids, bos = tokenize(load_tokenizer(reference), text, tokens)
        self._device = device
        self._windows = cut_windows(ids, WINDOW, bos)
        self.tokens = scored_tokens(self._windows)
        with open_session(reference, device=device, answers=False) as session:
            paths.cache_dir().mkdir(parents=True, exist_ok=True)
            check_disk(paths.cache_dir(), spool_bytes(self.tokens, session.vocab_size), self.tokens)
            self._spool = Spool(paths.cache_dir())
            totals = Totals()
            for given, inputs in self._batches(session):
                logp, targets = _predict(session, inputs, given)
                totals.tokens += targets.numel()
                totals.loss += loss_sum(logp, targets)
                self._spool.write(logp)
        self.reference = Score(totals.perplexity, 0.0, 1.0)

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *exc: object) -> None:
        self._spool.close()

    def score(self, folder: Path) -> Score:
        """Of the model in `folder`. Raises ValueError where its output is not a number."""
        self._spool.rewind()
        totals = Totals()
        with open_session(folder, device=self._device, answers=False) as session:
            for given, inputs in self._batches(session):
                logp, targets = _predict(session, inputs, given)
                wanted = self._spool.read(tuple(logp.shape), logp.device)
                totals.tokens += targets.numel()
                totals.loss += loss_sum(logp, targets)
                totals.divergence += divergence_sum(wanted, logp)
                totals.agreements += agreement_count(wanted, logp)
        if math.isnan(totals.divergence):
            raise ValueError("its output is not a number")
        return Score(totals.perplexity, totals.kl_divergence, totals.top1_agreement)

    def _batches(self, session: Session) -> list[tuple[int, Tensor]]:
        size = max(1, BATCH_BYTES // (WINDOW * session.vocab_size * 4))
        return [(given, inputs) for inputs, given in batches(self._windows, size)]


def _predict(session: Session, inputs: Tensor, given: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities float32 `[B, T-given, V]` and targets int64 `[B, T-given]` after the given tokens."""
    with torch.inference_mode():
        logp = log_probabilities(session.logits(inputs)[:, given - 1 : -1])
    return logp, inputs[:, given:].to(logp.device)
