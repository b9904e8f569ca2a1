"""The decode loop: prefill, then one token at a time over a KV cache, streamed as text and measured."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fqconsole.errors import OperatorError
from fqconsole.generation.device import Stopwatch, peak_bytes, release, reset_peak
from fqconsole.generation.options import Sampling
from fqconsole.generation.sampling import choose_token
from fqconsole.generation.text_stream import Detokenizer, StopFilter

StopReason = Literal["end", "length", "stop_string", "stopped", "context"]
OnTokens = Callable[[str, int, float | None], None]

# A long prompt goes through in pieces of this many tokens: it bounds the activations and lets a stop take
# effect.
PREFILL_CHUNK = 2048


@dataclass(frozen=True)
class Generation:
    """One answer with its measured speeds."""

    text: str  # special tokens left out, cut before a stop string
    token_ids: tuple[int, ...]  # every token made, the end token included
    prompt_tokens: int
    ttft_ms: float  # from the call to the first token on the host
    prefill_tok_s: float  # prompt tokens over the time to the first token's logits
    decode_tok_s: float | None  # tokens after the first over their time; None with fewer than two
    peak_bytes: int  # CUDA: torch's peak; CPU: the process's resident peak
    stop_reason: StopReason
    seed: int | None
    cache_bytes: int = 0  # of keys, values and states at the end; 0 where the model keeps them its own way


@dataclass(frozen=True)
class DecodeInputs:
    """What the loop needs of a session: the model and its tokenizer are transformers objects."""

    model: Any
    device: torch.device
    context: int
    end_tokens: frozenset[int]
    decode_ids: Callable[[Any], str]  # token ids -> text without special tokens


def generate_tokens(
    inputs: DecodeInputs, ids: list[int], sampling: Sampling, stop: Callable[[], bool], on_tokens: OnTokens
) -> Generation:
    """Generate from the prompt `ids` (at least one, fewer than the context) until something ends it.

    `stop` is asked before every forward; `on_tokens(new text, tokens so far, tok/s)` is told after every
    token that completes text. Raises OperatorError when the logits hold NaN.
    """
    reset_peak(inputs.device)
    try:
        with torch.inference_mode():
            return _Decoder(inputs, ids, sampling, stop, on_tokens).run()
    finally:
        release(inputs.device)


def warm_up(model: Any, device: torch.device, lengths: Sequence[int]) -> None:
    """Run a prompt of each of `lengths` tokens and one step; what comes out is of no interest."""
    with torch.inference_mode():
        for length in lengths:
            steps = Steps(model)
            steps.forward(torch.zeros((1, length), dtype=torch.int64, device=device))
        steps.forward(torch.zeros((1, 1), dtype=torch.int64, device=device))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    release(device)


# Without cuDNN's: it plans anew for each length of the cache, 40 ms for every token of a first answer (H200).
ATTENTION_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Steps:
    """A model and the KV cache of one text: the cache is of the kind that the model makes for itself."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: Any = None
        # Mamba and its sisters call by another name what all others call past_key_values.
        named = signature(model.forward).parameters
        self._word = "cache_params" if "cache_params" in named else "past_key_values"

    def forward(self, ids: Tensor) -> Tensor:
        """Logits `[V]` of the last position for the next tokens int64 `[1, T]`, in the model's dtype.

        Raises OperatorError for a model that keeps its state in another way than the rest.
        """
        with sdpa_kernel(ATTENTION_BACKENDS):
            out = self._model(input_ids=ids, use_cache=True, logits_to_keep=1, **{self._word: self._cache})
        self._cache = getattr(out, self._word, None)
        if self._cache is None:
            raise OperatorError(
                f"A {self._model.config.model_type} model keeps its state in a way unknown to a session.",
                "Choose a model with attention.",
            )
        logits: Tensor = out.logits[0, -1]
        return logits

    def cache_bytes(self) -> int:
        """Bytes of the floating-point tensors that the cache holds."""
        held: dict[int, Tensor] = {}
        for layer in getattr(self._cache, "layers", ()):
            for value in vars(layer).values():
                items = value.values() if isinstance(value, dict) else value
                for item in (
                    items if isinstance(items, Iterable) and not isinstance(items, Tensor) else (items,)
                ):
                    if isinstance(item, Tensor) and item.is_floating_point():
                        held[id(item)] = item
        return sum(tensor.nbytes for tensor in held.values())


class _Decoder:
    """One generation under way."""

    def __init__(
        self,
        inputs: DecodeInputs,
        ids: list[int],
        sampling: Sampling,
        stop: Callable[[], bool],
        on_tokens: OnTokens,
    ) -> None:
        self.inputs = inputs
        self.sampling = sampling
        self.stop = stop
        self.on_tokens = on_tokens
        self.prompt = ids
        room = inputs.context - len(ids)
        self.limit = min(sampling.max_new_tokens, room)
        self.limit_reason: StopReason = "length" if sampling.max_new_tokens <= room else "context"
        self.steps = Steps(inputs.model)
        self.generator = None
        if not sampling.greedy:
            self.generator = torch.Generator(device=inputs.device)
            self.generator.manual_seed(sampling.seed or 0)
        self.tokens: list[int] = []
        self.text: list[str] = []
        self.detokenizer = Detokenizer(inputs.decode_ids)
        self.stops = StopFilter(sampling.stop)

    def run(self) -> Generation:
        watch = Stopwatch(self.inputs.device)
        start = watch.mark()
        prompt = torch.tensor([self.prompt], dtype=torch.int64, device=self.inputs.device)
        logits = self._prefill(prompt)
        filled = watch.mark()
        if logits is None:
            return self._finish(watch, start, filled, None, "stopped")
        first = last = 0
        seen = prompt[0]
        began = 0.0
        while True:
            token, chosen = self._next(logits, seen)
            last = watch.mark()
            if not self.tokens:
                first, began = last, time.perf_counter()
            reason = self._take(chosen, began)
            if reason is not None:
                return self._finish(watch, start, filled, (first, last), reason)
            if self.sampling.repetition_penalty != 1.0:
                seen = torch.cat([seen, token])
            logits = self.steps.forward(token.view(1, 1))

    def _prefill(self, prompt: Tensor) -> Tensor | None:
        logits = None
        for piece in prompt.split(PREFILL_CHUNK, dim=1):
            if self.stop():
                return None
            logits = self.steps.forward(piece)
        return logits

    def _next(self, logits: Tensor, seen: Tensor) -> tuple[Tensor, int]:
        """The next token, int64 `[1]` on the device and as a number.

        The check for NaN travels in the same read as the token, so that a GPU waits only once.
        """
        logits = logits.float()
        token = choose_token(torch.nan_to_num(logits, nan=0.0), self.sampling, seen, self.generator)
        chosen, broken = torch.cat([token, logits.isnan().any().view(1).long()]).tolist()
        if broken:
            raise OperatorError(
                f"The model's output is not a number (NaN) at token {len(self.tokens) + 1}.",
                "Try the 16-bit model; if that works, quantize again with finer groups or more bits.",
            )
        return token, chosen

    def _take(self, token: int, began: float) -> StopReason | None:
        """Book one token: its text goes out; returns why the generation ends here, or None."""
        self.tokens.append(token)
        count = len(self.tokens)
        ended = token in self.inputs.end_tokens
        text = self.stops.add("" if ended else self.detokenizer.add(token))
        reason: StopReason | None = None
        if ended:
            reason = "end"
        elif self.stops.stopped:
            reason = "stop_string"
        elif count >= self.limit:
            reason = self.limit_reason
        elif self.stop():
            reason = "stopped"
        if reason is not None and reason != "stop_string":
            text += self.stops.add(self.detokenizer.finish()) + self.stops.finish()
        self.text.append(text)
        if text or reason is not None:
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
            text="".join(self.text),
            token_ids=tuple(self.tokens),
            prompt_tokens=len(self.prompt),
            ttft_ms=first * 1000,
            prefill_tok_s=len(self.prompt) / prefill if prefill > 0 else 0.0,
            decode_tok_s=(len(self.tokens) - 1) / decode if len(self.tokens) > 1 and decode > 0 else None,
            peak_bytes=peak_bytes(self.inputs.device),
            stop_reason=reason,
            seed=self.sampling.seed,
            cache_bytes=self.steps.cache_bytes(),
        )
