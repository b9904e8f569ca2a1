"""The decode loop: prefill, then one token at a time over a KV cache, streamed as text and measured."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fqconsole.errors import OperatorError
from fqconsole.generation.answer import Answer, Generation, StopReason
from fqconsole.generation.chooser import Chooser
from fqconsole.generation.device import Stopwatch, peak_bytes, release, reset_peak
from fqconsole.generation.options import Sampling
from fqconsole.generation.steps import Steps
from fqconsole.stages import Stages
from kernels.compilation import asked_for

OnTokens = Callable[[str, int, float | None], None]

# A long prompt goes through in pieces of this many tokens: it bounds the activations and lets a stop take
# effect.
PREFILL_CHUNK = 2048


@dataclass(frozen=True)
class DecodeInputs:
    """What the loop needs of a session beside what computes."""

    device: torch.device
    context: int
    end_tokens: frozenset[int]
    decode_ids: Callable[[Sequence[int]], str]  # token ids -> text without special tokens


def generate_tokens(
    inputs: DecodeInputs,
    steps: Steps,
    ids: list[int],
    sampling: Sampling,
    *,
    stop: Callable[[], bool] = lambda: False,
    on_tokens: OnTokens = lambda text, count, tok_s: None,
) -> Generation:
    """Generate from the prompt `ids` (at least one, fewer than the context) until something ends it.

    `stop` is asked before every forward; `on_tokens(new text, tokens so far, tok/s)` is told after every
    token that completes text. Raises OperatorError when the logits hold NaN.
    """
    reset_peak(inputs.device)
    decoder = _Decoder(inputs, steps, ids, sampling)
    decoder.stop, decoder.on_tokens = stop, on_tokens
    fed: list[int] | None = None
    try:
        with torch.inference_mode():
            answer = decoder.run()
        fed = decoder.fed
    finally:
        steps.finish(fed)
        release(inputs.device)
    return answer


def warm_up(
    steps: Steps,
    device: torch.device,
    lengths: Sequence[int],
    *,
    together: bool = False,
    stages: Stages | None = None,
) -> None:
    """Run a prompt of each of `lengths` tokens and one step; what comes out is of no interest.

    `together`: the kernels are compiled side by side first, as no number that one of them makes is looked at.
    """
    stages = stages or Stages()
    with torch.inference_mode():
        if together:
            with asked_for(device):
                _run_short(steps, device, lengths)
            stages.ended("compile kernels")
        _run_short(steps, device, lengths)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    release(device)
    stages.ended("warm up")


def _run_short(steps: Steps, device: torch.device, lengths: Sequence[int]) -> None:
    for length in lengths:
        steps.start([0] * length)
        for start in range(0, length, PREFILL_CHUNK):
            steps.forward([0] * min(PREFILL_CHUNK, length - start))
    steps.step(torch.zeros(1, dtype=torch.int64, device=device))
    steps.finish(None)


def runs_ahead(device: torch.device) -> bool:
    """Whether the device takes work without making the host wait: the next step before the token is read."""
    return device.type == "cuda"


def not_a_number(token: int, where: str) -> OperatorError:
    """The failure of a model whose logits hold a NaN; `where`: the part that gave the first, "" unknown."""
    named = f", first in {where}" if where else ""
    return OperatorError(
        f"The model's output is not a number (NaN) at token {token}{named}.",
        "Try the 16-bit model; if that works, quantize again with finer groups or more bits.",
    )


class _Decoder:
    """One generation under way."""

    def __init__(
        self,
        inputs: DecodeInputs,
        steps: Steps,
        ids: list[int],
        sampling: Sampling,
    ) -> None:
        self.inputs = inputs
        self.sampling = sampling
        self.stop: Callable[[], bool] = lambda: False
        self.on_tokens: OnTokens = lambda text, count, tok_s: None
        self.prompt = ids
        self.answer = Answer(len(ids), inputs.context, sampling, inputs.end_tokens, inputs.decode_ids)
        self.steps = steps
        self.overlaps = runs_ahead(inputs.device)
        self.reused = 0
        self.fed: list[int] = []  # tokens whose keys and values were computed

    def run(self) -> Generation:
        watch = Stopwatch(self.inputs.device)
        start = watch.mark()
        logits = self._prefill()
        filled = watch.mark()
        if logits is None:
            return self._finish(watch, start, filled, None, "stopped")
        chooser = Chooser(self.sampling, [self.prompt], logits.shape[-1], self.inputs.device)
        first = last = 0
        began = 0.0
        while True:
            token = chooser.choose(logits[None])
            last = watch.mark()
            # The device goes on with the next step while the host looks at this token; where it was the
            # last one, that step is of no interest.
            ahead = self.overlaps and len(self.answer.tokens) + 1 < self.answer.limit
            if ahead:
                logits = self.steps.step(token)
            chosen = self._read(chooser)
            if not self.answer.tokens:
                first, began = last, time.perf_counter()
            reason = self._take(chosen, began)
            if ahead or reason is None:
                self.fed.append(chosen)
            if reason is not None:
                return self._finish(watch, start, filled, (first, last), reason)
            if not ahead:
                logits = self.steps.step(token)

    def _prefill(self) -> Tensor | None:
        self.reused = self.steps.start(self.prompt)
        self.fed = self.prompt[: self.reused]
        logits = None
        for begin in range(self.reused, len(self.prompt), PREFILL_CHUNK):
            if self.stop():
                return None
            piece = self.prompt[begin : begin + PREFILL_CHUNK]
            logits = self.steps.forward(piece)
            self.fed += piece
        return logits

    def _read(self, chooser: Chooser) -> int:
        ((chosen, bad),) = chooser.take()
        if not bad:
            return chosen
        raise not_a_number(len(self.answer.tokens) + 1, self.steps.first_nan())

    def _take(self, token: int, began: float) -> StopReason | None:
        """Book one token: its text goes out; returns why the generation ends here, or None."""
        text, reason = self.answer.take(token, self.stop)
        if text or reason is not None:
            count = len(self.answer.tokens)
            elapsed = time.perf_counter() - began
            self.on_tokens(text, count, (count - 1) / elapsed if count > 1 and elapsed > 0 else None)
        return reason

    def _finish(
        self, watch: Stopwatch, start: int, filled: int, tokens: tuple[int, int] | None, reason: StopReason
    ) -> Generation:
        prefill = watch.seconds(start, filled)
        first = watch.seconds(start, tokens[0] if tokens else filled)
        decode = watch.seconds(*tokens) if tokens else 0.0
        return Generation(
            text=self.answer.text,
            token_ids=tuple(self.answer.tokens),
            prompt_tokens=len(self.prompt),
            ttft_ms=first * 1000,
            prefill_tok_s=(len(self.prompt) - self.reused) / prefill if prefill > 0 else 0.0,
            decode_tok_s=(len(self.answer.tokens) - 1) / decode
            if len(self.answer.tokens) > 1 and decode > 0
            else None,
            peak_bytes=peak_bytes(self.inputs.device),
            stop_reason=reason,
            seed=self.sampling.seed,
            cache_bytes=self.steps.cache_bytes(),
            reused_tokens=self.reused,
            cache_tokens=self.steps.cache_tokens,
        )
