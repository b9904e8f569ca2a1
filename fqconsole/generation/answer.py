"""An answer as it grows: tokens become text, and something ends it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fqconsole.generation.options import Sampling
from fqconsole.generation.text_stream import Detokenizer, StopFilter

StopReason = Literal["end", "length", "stop_string", "stopped", "context"]


@dataclass(frozen=True)
class Generation:
    """One answer with its measured speeds."""

    text: str  # special tokens left out, cut before a stop string
    token_ids: tuple[int, ...]  # every token made, the end token included
    prompt_tokens: int
    ttft_ms: float  # from the call to the first token on the host
    prefill_tok_s: float  # prompt tokens that were computed over the time to the first token's logits
    decode_tok_s: float | None  # tokens after the first over their time; None with fewer than two
    peak_bytes: int  # CUDA: torch's peak; CPU: the process's resident peak
    stop_reason: StopReason
    seed: int | None
    cache_bytes: int = 0  # of keys, values and states at the end; 0 where the model keeps them its own way
    reused_tokens: int = 0  # of the prompt, whose keys and values an earlier turn had left
    cache_tokens: int = 0  # that the cache was taken for, whatever the answer's length; 0: it grew with it


class Answer:
    """The tokens and the text of one answer so far."""

    def __init__(
        self,
        prompt_tokens: int,
        context: int,
        sampling: Sampling,
        end_tokens: frozenset[int],
        decode_ids: Callable[[Sequence[int]], str],
    ) -> None:
        room = context - prompt_tokens
        self.limit = min(sampling.max_new_tokens, room)
        self.tokens: list[int] = []
        self._limit_reason: StopReason = "length" if sampling.max_new_tokens <= room else "context"
        self._end_tokens = end_tokens
        self._text: list[str] = []
        self._detokenizer = Detokenizer(decode_ids)
        self._stops = StopFilter(sampling.stop)

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self._text)

    def take(self, token: int, stop: Callable[[], bool]) -> tuple[str, StopReason | None]:
        """Book one token: the text that it completes, and why the answer ends here, or None."""
        self.tokens.append(token)
        ended = token in self._end_tokens
        text = self._stops.add("" if ended else self._detokenizer.add(token))
        reason: StopReason | None = None
        if ended:
            reason = "end"
        elif self._stops.stopped:
            reason = "stop_string"
        elif len(self.tokens) >= self.limit:
            reason = self._limit_reason
        elif stop():
            reason = "stopped"
        if reason is not None and reason != "stop_string":
            text += self._stops.add(self._detokenizer.finish()) + self._stops.finish()
        self._text.append(text)
        return text, reason
