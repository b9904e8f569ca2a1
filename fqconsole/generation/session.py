"""A session: one model loaded and kept warm, answering one prompt after another."""

import gc
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fqconsole.errors import MALFORMED, OperatorError, UsageError
from fqconsole.generation import options
from fqconsole.generation.decoding import DecodeInputs, Generation, OnTokens, generate_tokens, warm_up
from fqconsole.generation.device import fitting_threads, release
from fqconsole.generation.loading import BytesProgress, LoadedModel, load_model
from fqconsole.generation.prompt import Message, has_chat_template, load_tokenizer, render
from fqconsole.generation.wide_head import wide_head
from quantizer.device import resolve_device

DEFAULT_CONTEXT = 8192
PLAIN_WARM_UP = (16,)
FUSED_WARM_UP = (2100, 600, 200, 100, 50, 25, 16)  # one for each kernel that the number of rows chooses


def open_session(
    path: Path, *, device: str = "auto", context: int | None = None, on_progress: BytesProgress | None = None
) -> "Session":
    """Load the quantized or 16-bit model in folder `path` and warm it up.

    `context` None: min(8192, the model's maximum). `on_progress(done, total)` is told stored bytes while
    loading. Raises UsageError for a device or context that can't be had, OperatorError for a model that can't
    be loaded, torch.OutOfMemoryError when the device is too small.
    """
    started = time.perf_counter()
    place = resolve_device(device)
    tokenizer = load_tokenizer(path)
    loaded = load_model(path, place, on_progress)
    session = Session(path, place, loaded, tokenizer, context)
    session.warm_up()
    session.load_seconds = time.perf_counter() - started
    return session


class Session:
    """A loaded model. Not for use from two threads at once; a failed generation leaves it usable."""

    def __init__(
        self, path: Path, device: torch.device, loaded: LoadedModel, tokenizer: Any, context: int | None
    ) -> None:
        text_config = loaded.config.get_text_config()
        self.path = path
        self.torch_device = device
        self.device = str(device)
        self.precision = loaded.precision
        self.dtype = loaded.dtype
        self.weights_bytes = loaded.weights_bytes
        self.matmul_path = loaded.path
        self.vocab_size = int(text_config.vocab_size)
        self.tokenizer = tokenizer
        self.has_chat_template = has_chat_template(tokenizer)
        self.max_context = _longest_context(text_config)
        self.context = _choose_context(context, self.max_context)
        self.load_seconds = 0.0
        self._model: Any = loaded.model
        self.end_tokens = _end_tokens(path, text_config, tokenizer)

    def render(
        self, prompt: str | None = None, messages: Sequence[Message] | None = None
    ) -> tuple[str, list[int]]:
        """The text the model will see, special tokens visible, and its token ids; see `prompt.render`."""
        return render(self.tokenizer, prompt=prompt, messages=messages)

    def generate(
        self,
        ids: list[int],
        sampling: options.Sampling,
        *,
        stop: Callable[[], bool] = lambda: False,
        on_tokens: OnTokens = lambda text, count, tok_s: None,
    ) -> Generation:
        """Continue the prompt `ids`; blocks until the answer ends.

        `stop` is asked before every token; `on_tokens(new text, tokens so far, tok/s)` is told on this
        thread. Without a seed one is drawn; the Generation names it. Raises UsageError for options that make
        no sense, OperatorError for a prompt that leaves no room in the context and for NaN,
        torch.OutOfMemoryError when the device is too small for this prompt.
        """
        wrong = options.problem(sampling)
        if wrong:
            raise UsageError(wrong)
        self._check_room(ids)
        inputs = DecodeInputs(
            model=self._opened(),
            device=self.torch_device,
            context=self.context,
            end_tokens=self.end_tokens,
            decode_ids=self._decode,
        )
        with fitting_threads(self.torch_device, self.weights_bytes):
            return generate_tokens(inputs, ids, options.with_seed(sampling), stop, on_tokens)

    def logits(self, ids: Tensor) -> Tensor:
        """Logits float32 `[B, T, V]` on the session's device for tokens int64 `[B, T]`, without a cache.

        The head's product is made in float32, not rounded to 16 bits: these logits are for measuring.
        """
        model = self._opened()
        with torch.inference_mode(), wide_head(model):
            out: Tensor = model(input_ids=ids.to(self.torch_device), use_cache=False).logits
            return out.float()

    def warm_up(self) -> None:
        """Run short prompts and one step: compiling kernels is not part of the first answer's time."""
        lengths = FUSED_WARM_UP if self.matmul_path == "triton" else PLAIN_WARM_UP
        warm_up(self._opened(), self.torch_device, [min(length, self.context - 1) for length in lengths])

    def close(self) -> None:
        """Give the memory back; the session can't be used any more."""
        self._model = None
        gc.collect()
        release(self.torch_device)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _opened(self) -> Any:
        if self._model is None:
            raise OperatorError(f"The session on {self.path} is closed.", "Open it again.")
        return self._model

    def _decode(self, ids: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def _check_room(self, ids: list[int]) -> None:
        if not ids:
            raise UsageError("The prompt is empty.", "Write at least one word for the model to go on from.")
        if len(ids) < self.context:
            return
        shorter = f"Shorten the prompt by at least {len(ids) - self.context + 1} tokens"
        longer = ""
        if self.max_context is None or self.max_context > len(ids):
            longer = f", or open the session with a context above {len(ids)}"
        raise OperatorError(
            f"The prompt has {len(ids)} tokens and the context of this session is {self.context}, "
            "which leaves no room for an answer.",
            f"{shorter}{longer}.",
        )


def _longest_context(text_config: Any) -> int | None:
    """The context the model was made for; None where its config doesn't say."""
    for word in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(text_config, word, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _choose_context(asked: int | None, longest: int | None) -> int:
    if asked is None:
        return min(DEFAULT_CONTEXT, longest or DEFAULT_CONTEXT)
    if asked < 2:
        raise UsageError(f"A context of {asked} tokens is too short.", "Ask for at least 2.")
    if longest is not None and asked > longest:
        raise UsageError(
            f"A context of {asked} tokens was asked for, but the model was made for {longest}.",
            f"Ask for at most {longest}.",
        )
    return asked


def _end_tokens(path: Path, text_config: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: generation_config.json's or else config.json's, and the tokenizer's."""
    stated: Any = None
    file = path / "generation_config.json"
    if file.is_file():
        try:
            stated = json.loads(file.read_text()).get("eos_token_id")
        except (OSError, AttributeError, *MALFORMED):
            stated = None
    if stated is None:
        stated = getattr(text_config, "eos_token_id", None)
    found = {stated} if isinstance(stated, int) else set(stated or ())
    if tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    return frozenset(found)
