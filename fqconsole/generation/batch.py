"""Several texts at once: prompts of any lengths one after the other, then one step for all of them.

Each text ends on its own; the steps go on until the last one has. A text is sampled as if it were alone.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fqconsole.generation.answer import Answer, Generation, StopReason
from fqconsole.generation.chooser import Chooser
from fqconsole.generation.decoder import Decoder
from fqconsole.generation.decoding import PREFILL_CHUNK, DecodeInputs, not_a_number
from fqconsole.generation.device import Stopwatch, peak_bytes, reset_peak
from fqconsole.generation.graphs import StepGraphs
from fqconsole.generation.options import Sampling
from fqconsole.generation.passes import Chunk, Pass
from fqconsole.generation.static_cache import StaticCache

LARGEST_BATCH = 64


class BatchSteps:
    """Texts side by side on one static cache."""

    def __init__(self, decoder: Decoder, cache: StaticCache) -> None:
        self._decoder = decoder
        self._cache = cache
        self._graphs = StepGraphs(decoder, cache)
        self._lengths: list[int] = []

    def fits(self, texts: int, longest: int) -> bool:
        """Whether so many texts of so many tokens have room."""
        return texts <= self._cache.batch and longest <= self._cache.context

    def prompts(self, prompts: Sequence[Sequence[int]], stop: Callable[[], bool]) -> Tensor | None:
        """Logits `[B, V]` after each prompt; None where `stop` says so in between."""
        self._lengths = [len(ids) for ids in prompts]
        self._cache.rotary.fit(max(self._lengths))
        last: dict[int, Tensor] = {}
        for chunks in passes_of(self._lengths):
            if stop():
                return None
            ids = [token for c in chunks for token in prompts[c.row][c.first : c.first + c.count]]
            given = torch.tensor(ids, dtype=torch.int64, device=self._decoder.device)
            tokens = Pass.of_chunks(chunks, self._cache.rotary, self._decoder.device)
            stream = self._decoder.hidden(given, tokens, self._cache.layers)
            ends = []
            end = 0
            for chunk in chunks:
                end += chunk.count
                if chunk.first + chunk.count == self._lengths[chunk.row]:
                    ends.append((chunk.row, end - 1))
            if ends:
                rows = torch.tensor([place for _, place in ends], device=self._decoder.device)
                for (row, _), logits in zip(ends, self._decoder.logits(stream.rows(rows)), strict=True):
                    last[row] = logits
            del stream  # the next pass needs its room
        return torch.stack([last[row] for row in range(len(prompts))])

    def step(self, tokens: Tensor, living: Sequence[bool]) -> Tensor:
        """Logits `[B, V]` after one more token each, int64 `[B]`; texts that ended stay where they are."""
        positions = torch.tensor(self._lengths, dtype=torch.int64, device=self._decoder.device)
        self._cache.rotary.fit(max(self._lengths) + 1)
        logits = self._graphs.run(tokens, positions)
        ends = zip(self._lengths, living, strict=True)
        self._lengths = [length + 1 if lives else length for length, lives in ends]
        return logits

    def cache_bytes(self) -> int:
        """Bytes of keys and values of one text."""
        return self._cache.bytes // self._cache.batch


def passes_of(lengths: Sequence[int]) -> list[tuple[Chunk, ...]]:
    """Prompts of these lengths, cut and put together into passes of at most `PREFILL_CHUNK` tokens."""
    passes: list[tuple[Chunk, ...]] = []
    current: list[Chunk] = []
    room = PREFILL_CHUNK
    for row, length in enumerate(lengths):
        first = 0
        while first < length:
            count = min(room, length - first)
            current.append(Chunk(row, first, count))
            first += count
            room -= count
            if room == 0:
                passes.append(tuple(current))
                current, room = [], PREFILL_CHUNK
    return [*passes, tuple(current)] if current else passes


def generate_together(
    inputs: DecodeInputs,
    steps: BatchSteps,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    stop: Callable[[], bool],
) -> list[Generation]:
    """An answer to each prompt. Raises OperatorError when the logits of one hold NaN."""
    reset_peak(inputs.device)
    watch = Stopwatch(inputs.device)
    start = watch.mark()
    answers = [
        Answer(len(ids), inputs.context, sampling, inputs.end_tokens, inputs.decode_ids) for ids in prompts
    ]
    reasons: list[StopReason | None] = [None] * len(prompts)
    ends = [start] * len(prompts)
    logits = steps.prompts(prompts, stop)
    filled = first = watch.mark()
    if logits is None:
        reasons = ["stopped"] * len(prompts)
    else:
        chooser = Chooser(sampling, prompts, logits.shape[-1], inputs.device)
        while None in reasons:
            tokens = chooser.choose(logits)
            now = watch.mark()
            first = now if first == filled else first
            for row, (token, bad) in enumerate(chooser.take()):
                if reasons[row] is not None:
                    continue
                if bad:
                    raise not_a_number(len(answers[row].tokens) + 1, "")
                reasons[row] = answers[row].take(token, stop)[1]
                ends[row] = now
            if None in reasons:
                logits = steps.step(tokens, [reason is None for reason in reasons])
    prefill = watch.seconds(start, filled)
    computed = sum(len(ids) for ids in prompts)
    found = []
    for answer, ids, reason, end in zip(answers, prompts, reasons, ends, strict=True):
        seconds = watch.seconds(first, end) if answer.tokens else 0.0
        found.append(
            Generation(
                text=answer.text,
                token_ids=tuple(answer.tokens),
                prompt_tokens=len(ids),
                ttft_ms=watch.seconds(start, first) * 1000,
                prefill_tok_s=computed / prefill if prefill > 0 else 0.0,
                decode_tok_s=(len(answer.tokens) - 1) / seconds if seconds > 0 else None,
                peak_bytes=peak_bytes(inputs.device),
                stop_reason=reason or "stopped",
                seed=sampling.seed,
                cache_bytes=steps.cache_bytes(),
            )
        )
    return found
