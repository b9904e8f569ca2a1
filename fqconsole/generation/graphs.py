"""One decode step as a CUDA graph: one launch for the whole model instead of one for each of its kernels.

A graph is captured for each number of sequences. It reads its inputs from tensors that stay where they are;
how long the texts are the kernels in it read on the device, so one graph serves every length. On a CPU the
same step runs as it is.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from fqconsole.generation.decoder import Decoder
from fqconsole.generation.passes import Pass
from fqconsole.generation.static_cache import StaticCache
from kernels.compilation import is_asking

WARM_RUNS = 2  # before a capture: kernels are compiled, workspaces taken


@dataclass(frozen=True, eq=False)
class Captured:
    """A graph and where its replay leaves the logits `[B, V]`."""

    graph: torch.cuda.CUDAGraph
    logits: Tensor


@functools.cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """Where steps are captured: one stream for all, since cuBLAS keeps 32 MiB of a GPU for each it meets."""
    return torch.cuda.Stream(device)


class StepGraphs:
    """The decode step of sequences 0 … B - 1 of one cache; its GPU is torch's current one."""

    def __init__(self, decoder: Decoder, cache: StaticCache) -> None:
        self._decoder = decoder
        self._cache = cache
        self._captured: dict[int, Captured] = {}
        self._tokens = torch.zeros(cache.batch, dtype=torch.int64, device=decoder.device)
        self._positions = torch.zeros(cache.batch, dtype=torch.int64, device=decoder.device)
        self._batch = 0

    def run(self, tokens: Tensor, positions: Tensor | int) -> Tensor:
        """Logits `[B, V]` after `tokens` int64 `[B]` at `positions` int64 `[B]`, or all at one position.

        On a GPU they are overwritten by the next run.
        """
        batch = tokens.shape[0]
        self._batch = batch
        self._tokens[:batch].copy_(tokens)
        if isinstance(positions, int):
            self._positions[:batch].fill_(positions)
        else:
            self._positions[:batch].copy_(positions)
        if self._decoder.device.type != "cuda" or is_asking():
            return self._step(batch)
        captured = self._captured.get(batch)
        if captured is None:
            captured = self._captured[batch] = self._capture(batch)
        captured.graph.replay()
        return captured.logits

    def last_inputs(self) -> tuple[Tensor, Pass]:
        """Tokens and places of the last run, to run it again."""
        batch = self._batch
        return self._tokens[:batch], Pass.of_step(self._positions[:batch], self._cache.rotary)

    def _step(self, batch: int) -> Tensor:
        tokens = Pass.of_step(self._positions[:batch], self._cache.rotary)
        return self._decoder.logits(self._decoder.hidden(self._tokens[:batch], tokens, self._cache.layers))

    def _capture(self, batch: int) -> Captured:
        """Capture the step at the inputs of now: what it stores is stored again, the same, by its replay."""
        aside = side_stream(self._decoder.device)
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_RUNS):
                self._step(batch)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads of the worker may ask the driver for something meanwhile.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            logits = self._step(batch)
        return Captured(graph, logits)
