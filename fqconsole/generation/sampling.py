"""From logits to the next token: pure functions on one row of logits `[V]`, in the order in which they are
applied.

repetition penalty → temperature → top-k → top-p → min-p → draw. A token that a filter removes has the logit
-inf.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

import kernels
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


class Chooser:
    """Chooses the next token of each of B texts on the device, and brings it to the host.

    On a GPU nothing waits: the tokens are on their way while the next step is launched, and `take` waits for
    them alone. Every text is drawn as if it were alone, with the seed that `sampling` has.
    """

    def __init__(
        self, sampling: Sampling, prompts: Sequence[Sequence[int]], vocabulary: int, device: torch.device
    ) -> None:
        """`prompts`: the tokens that a repetition penalty counts from the start."""
        batch = len(prompts)
        self._filters = _filters(sampling, batch, device)
        self._generators: list[torch.Generator] = []
        self._noise: Tensor | None = None
        self._seen: Tensor | None = None
        if not sampling.greedy:
            self._noise = torch.empty((batch, vocabulary), dtype=torch.float32, device=device)
            self._generators = [torch.Generator(device=device) for _ in range(batch)]
            for generator in self._generators:
                generator.manual_seed(sampling.seed or 0)
        if sampling.repetition_penalty != 1.0:
            self._seen = torch.zeros((batch, vocabulary), dtype=torch.uint8, device=device)
            for row, ids in enumerate(prompts):
                self._seen[row, torch.tensor(list(ids), device=device)] = 1
        on_gpu = device.type == "cuda"
        self._host = torch.zeros((2, batch), dtype=torch.int64, pin_memory=on_gpu)
        self._arrived = torch.cuda.Event() if on_gpu else None

    def choose(self, logits: Tensor) -> Tensor:
        """The next tokens int64 `[B]` on the device, from logits `[B, V]`."""
        if self._noise is not None:
            for row, generator in zip(self._noise, self._generators, strict=True):
                row.exponential_(generator=generator)
        tokens, bad = kernels.choose(logits, self._filters, self._noise, self._seen)
        self._host.copy_(torch.stack([tokens, bad.long()]), non_blocking=self._arrived is not None)
        if self._arrived is not None:
            self._arrived.record()
        return tokens

    def take(self) -> list[tuple[int, bool]]:
        """Of each text the token chosen last, and whether its logits held a NaN."""
        if self._arrived is not None:
            self._arrived.synchronize()
        tokens, bad = self._host.tolist()
        return [(token, bool(flag)) for token, flag in zip(tokens, bad, strict=True)]


def _filters(sampling: Sampling, batch: int, device: torch.device) -> kernels.Filters:
    """What is on, as tensors `[B]`."""

    def row(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.full((batch,), value, dtype=dtype, device=device)

    penalty = row(sampling.repetition_penalty) if sampling.repetition_penalty != 1.0 else None
    if sampling.greedy:
        return kernels.Filters(penalty=penalty)
    return kernels.Filters(
        temperature=row(sampling.temperature),
        top_k=row(sampling.top_k, torch.int32) if sampling.top_k else None,
        top_p=row(sampling.top_p) if sampling.top_p < 1.0 else None,
        min_p=row(sampling.min_p) if sampling.min_p > 0.0 else None,
        penalty=penalty,
    )
