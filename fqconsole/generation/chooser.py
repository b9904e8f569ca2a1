"""The next token of each of several texts, chosen on the device and brought to the host."""

from collections.abc import Sequence

import torch
from torch import Tensor

import kernels
from fqconsole.generation.options import Sampling


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
            self._arrived.record(torch.cuda.current_stream(logits.device))
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
