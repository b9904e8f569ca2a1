"""A session: one model loaded and kept warm, answering one prompt after another."""

import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fqconsole.collector import uncollected
from fqconsole.errors import MALFORMED, OperatorError, UsageError
from fqconsole.generation import options
from fqconsole.generation.answer import Generation
from fqconsole.generation.batch import LARGEST_BATCH, BatchSteps, generate_together
from fqconsole.generation.decoding import DecodeInputs, OnTokens, generate_tokens, warm_up
from fqconsole.generation.device import at_home, release
from fqconsole.generation.loading import BytesProgress, LoadedModel, load_model
from fqconsole.generation.parallel.leading import load_together, logits_together, reserve_together
from fqconsole.generation.parallel.ranks import RankLostError, Ranks
from fqconsole.generation.prompt import Message, has_chat_template, load_tokenizer, render
from fqconsole.generation.scratch import Scratch
from fqconsole.generation.static_cache import reserve
from fqconsole.generation.steps import DecoderSteps, ModuleSteps, Steps
from fqconsole.generation.wide_head import wide_head
from fqconsole.stages import Stages
from kernels.compilation import compiles_together, wake_compiler
from kernels.device import runs_triton
from quantizer.device import resolve_device

DEFAULT_CONTEXT = 8192
KV_BITS = (16, 8)
CONTEXT_STEP = 256  # tokens: a batch a little longer than the one before finds room
PLAIN_WARM_UP = (16,)
FUSED_WARM_UP = (2100, 600, 200, 100, 50, 25, 16)  # one for each kernel that the number of rows chooses


@uncollected()
def open_session(
    path: Path,
    *,
    device: str = "auto",
    context: int | None = None,
    kv_bits: int = 16,
    on_progress: BytesProgress | None = None,
    answers: bool = True,
    gpus: int = 1,
    split: str = "auto",
    cuts: Sequence[int] | None = None,
    on_stuck: Callable[[RankLostError], None] | None = None,
    stages: Stages | None = None,
) -> "Session":
    """Load the quantized or 16-bit model in folder `path` and warm it up.

    `context` None: min(8192, the model's maximum). `kv_bits` 8: keys and values are kept as int8 with a scale
    for each head and token. `on_progress(done, total)` is told stored bytes while loading. `answers` False:
    for `logits` alone, no memory is taken for keys and values.

    `gpus` above 1: a process for each (of a CPU too), which ends with this one. `split` "tensor": each has a
    part of every matrix; "layer": some of the layers, up to `cuts`; "auto": the first where shapes divide.
    `on_stuck` is told from another thread when one of them is gone and this one does not notice: it hangs in
    the driver, or is idle. `stages` is told what the time went to.

    Raises UsageError for a device, context or width that can't be had and for a model that can't be split,
    OperatorError for a model that can't be loaded, DeviceError when the keys and values of the context have
    no room and when a GPU's process is gone, torch.OutOfMemoryError when the weights have no room.
    """
    if kv_bits not in KV_BITS:
        raise UsageError(f"Keys and values can't be kept in {kv_bits} bits.", "Use 16 or 8.")
    started = time.perf_counter()
    stages = stages or Stages()
    place = resolve_device(device)
    if runs_triton(place):
        wake_compiler()
    tokenizer = load_tokenizer(path)
    stages.ended("transformers, tokenizer")
    if gpus > 1:
        loaded, ranks = load_together(path, str(place), gpus, split, cuts, on_progress, on_stuck)
    else:
        loaded, ranks = load_model(path, place, on_progress, stages=stages), None
    try:
        session = Session(path, place, loaded, tokenizer, context, kv_bits, ranks)
        if answers:
            session.warm_up(stages)
    except BaseException:
        if ranks is not None:
            ranks.close()
        raise
    session.load_seconds = time.perf_counter() - started
    return session


class Session:
    """A loaded model. Not for use from two threads at once; a failed generation leaves it usable."""

    def __init__(  # noqa: PLR0917 - open_session alone calls it
        self,
        path: Path,
        device: torch.device,
        loaded: LoadedModel,
        tokenizer: Any,
        context: int | None,
        kv_bits: int = 16,
        ranks: Ranks | None = None,
    ) -> None:
        text_config = loaded.config.get_text_config()
        self.path = path
        self.torch_device = device
        self.device = str(device)
        self.precision = loaded.precision
        self.dtype = loaded.dtype
        self.weights_bytes = loaded.weights_bytes
        ours = loaded.decoder is not None
        self.matmul_path = loaded.path if ours else f"{loaded.path}, transformers' forward"
        self.ranks = ranks  # the other GPUs' processes
        self.vocab_size = int(text_config.vocab_size)
        self.tokenizer = tokenizer
        self.has_chat_template = has_chat_template(tokenizer)
        self.max_context = _longest_context(text_config)
        self.context = _choose_context(context, self.max_context)
        self.load_seconds = 0.0
        self.kv_bits = kv_bits
        self._model: Any = loaded.model
        self._decoder = loaded.decoder
        self._steps: Steps | None = None
        self._together: BatchSteps | None = None
        self._scratch: Scratch | None = None
        if kv_bits != KV_BITS[0] and self._decoder is None:
            raise UsageError(
                f"A {loaded.config.model_type} model runs through transformers' forward, which keeps keys "
                "and values in 16 bits.",
                "Leave the width of keys and values at 16.",
            )
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
        self._together = None
        steps = self._ready()
        with at_home(self.torch_device, self.weights_bytes), self._together_again():
            return generate_tokens(
                self._inputs(), steps, ids, options.with_seed(sampling), stop=stop, on_tokens=on_tokens
            )

    def generate_batch(
        self,
        prompts: Sequence[list[int]],
        sampling: options.Sampling,
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[Generation]:
        """Continue up to 64 prompts of any lengths at once; blocks until the last answer ends.

        Each is sampled as it would be alone with this seed. Models that run through transformers' forward,
        or on several GPUs, answer one after the other. Raises as `generate` does. The memory for
        keys and values of all texts is kept for the next batch, until `generate` is called.
        """
        wrong = options.problem(sampling)
        if wrong:
            raise UsageError(wrong)
        if len(prompts) > LARGEST_BATCH:
            raise UsageError(
                f"{len(prompts)} prompts are too many at once.", f"Give at most {LARGEST_BATCH}."
            )
        for ids in prompts:
            self._check_room(ids)
        sampling = options.with_seed(sampling)
        if self._decoder is None or self.ranks is not None or not prompts:
            return [self.generate(ids, sampling, stop=stop) for ids in prompts]
        self._opened()
        longest = max(min(self.context, len(ids) + sampling.max_new_tokens) for ids in prompts)
        if self._together is None or not self._together.fits(len(prompts), longest):
            self._together = None
            if isinstance(self._steps, DecoderSteps) and not self._steps.holds_text:
                self._steps = None  # no dialogue to go on with: a batch takes what it needs, and no more
            release(self.torch_device)
            room = min(self.context, -(-longest // CONTEXT_STEP) * CONTEXT_STEP)
            cache = reserve(self._decoder, len(prompts), room, self.kv_bits, self.weights_bytes)
            self._together = BatchSteps(self._decoder, cache)
        steps = self._together
        with torch.inference_mode(), at_home(self.torch_device, self.weights_bytes):
            return generate_together(self._inputs(), steps, prompts, sampling, stop)

    def logits(self, ids: Tensor) -> Tensor:
        """Logits float32 `[B, T, V]` on the session's device for tokens int64 `[B, T]`, without a cache.

        The head's product is made in float32, not rounded to 16 bits: these logits are for measuring.
        """
        model = self._opened()
        if self._decoder is not None:
            if self._scratch is None:
                self._scratch = Scratch(self._decoder)
            with torch.inference_mode(), at_home(self.torch_device, self.weights_bytes):
                if self.ranks is not None:
                    with self._together_again():
                        return logits_together(self.ranks, self._scratch, ids.to(self.torch_device))
                return self._scratch.logits(ids.to(self.torch_device))
        with torch.inference_mode(), at_home(self.torch_device, self.weights_bytes), wide_head(model):
            out: Tensor = model(input_ids=ids.to(self.torch_device), use_cache=False).logits
            return out.float()

    def warm_up(self, stages: Stages | None = None) -> None:
        """Run short prompts and one step: compiling kernels is not part of the first answer's time."""
        stages = stages or Stages()
        fused = self.matmul_path.startswith("triton")
        device, lengths = self.torch_device, FUSED_WARM_UP if fused else PLAIN_WARM_UP
        alone = self.ranks is None and self._decoder is not None and self._decoder.is_dense
        steps = self._ready()
        stages.ended("keys and values")
        with at_home(device, self.weights_bytes):
            shorter = [min(length, self.context - 1) for length in lengths]
            together = fused and alone and compiles_together(device)
            warm_up(steps, device, shorter, together=together, stages=stages)

    def close(self) -> None:
        """Give the memory back; the session can't be used any more."""
        self._model = self._decoder = self._steps = self._together = self._scratch = None
        if self.ranks is not None:
            self.ranks.close()
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

    @property
    def forward(self) -> str:
        """Whose forward runs: "fqconsole" for the families that it knows, "transformers" for all others."""
        return "transformers" if self._decoder is None else "fqconsole"

    def resize(self, context: int) -> None:
        """Go on with a longer or shorter context; the text so far is forgotten.

        Raises as `open_session` does; the session then has no context, and takes another one.
        """
        self.context = _choose_context(context, self.max_context)
        self._steps = self._together = None
        gc.collect()
        release(self.torch_device)
        self._ready()

    @contextmanager
    def _together_again(self) -> Iterator[None]:
        """Several GPUs that met again have no memory for texts any more: it is taken anew for the next."""
        before = None if self.ranks is None else self.ranks.meetings
        try:
            yield
        finally:
            if self.ranks is not None and self.ranks.meetings != before:
                self._steps = self._scratch = None

    def _inputs(self) -> DecodeInputs:
        return DecodeInputs(self.torch_device, self.context, self.end_tokens, self._decode)

    def _ready(self) -> Steps:
        """What takes a text further, its memory taken."""
        model = self._opened()
        if self._steps is None:
            if self._decoder is None:
                self._steps = ModuleSteps(model, self.torch_device)
            elif self.ranks is not None:
                self._steps = reserve_together(
                    self.ranks, self._decoder, self.context, self.kv_bits, self.weights_bytes
                )
            else:
                self._steps = DecoderSteps(
                    self._decoder, reserve(self._decoder, 1, self.context, self.kv_bits, self.weights_bytes)
                )
        return self._steps

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
