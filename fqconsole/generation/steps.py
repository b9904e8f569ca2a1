"""One forward after the other over the state of a text: ours on a static cache, or transformers' own.

Both are used alike: `start` with the prompt's tokens, `forward` pieces of the prompt, `step` token by token,
`finish` with what was really fed, so that the next prompt may go on from there.
"""

from collections.abc import Iterable, Sequence
from inspect import signature
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fqconsole.errors import OperatorError
from fqconsole.generation.decoder import Decoder
from fqconsole.generation.graphs import StepGraphs
from fqconsole.generation.passes import Chunk, Pass
from fqconsole.generation.static_cache import StaticCache

# Without cuDNN's: it plans anew for each length of the cache, 40 ms for every token of a first answer (H200).
ATTENTION_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Steps(Protocol):
    """The state of one text and what takes it further."""

    cache_tokens: int  # that the cache was taken for; 0: it grows

    def start(self, ids: Sequence[int]) -> int:
        """Begin a text; returns how many of its first tokens need not be computed again (never all)."""

    def forward(self, ids: Sequence[int]) -> Tensor:
        """Logits `[V]` after the next tokens of the prompt."""

    def step(self, token: Tensor) -> Tensor:
        """Logits `[V]` after one more token, int64 `[1]` on the device."""

    def finish(self, fed: Sequence[int] | None) -> None:
        """The text ends; `fed` are the tokens that went through, None where something failed."""

    def first_nan(self) -> str:
        """The part of the model whose output in the last forward is the first with a NaN; "" if unknown."""

    def cache_bytes(self) -> int:
        """Bytes of keys, values and states."""


class DecoderSteps:
    """Our own forward on a static cache of one sequence; a decode step is a captured graph on a GPU."""

    def __init__(self, decoder: Decoder, cache: StaticCache) -> None:
        self._decoder = decoder
        self._cache = cache
        self.cache_tokens = cache.context
        self._length = 0
        self._prompt: tuple[Tensor, Pass] | None = None  # its last piece
        self._stepped = False
        self._graphs = StepGraphs(decoder, cache)

    @property
    def holds_text(self) -> bool:
        """Whether there is something that the next prompt may go on from."""
        return bool(self._cache.kept[0])

    def start(self, ids: Sequence[int]) -> int:
        reused = self._cache.reusable(0, ids)
        self._cache.kept[0] = []
        self._cache.prompts[0] = len(ids)
        self._length = reused
        self._cache.rotary.fit(len(ids))
        return reused

    def forward(self, ids: Sequence[int]) -> Tensor:
        device = self._decoder.device
        given = torch.tensor(ids, dtype=torch.int64, device=device)
        tokens = Pass.of_chunks((Chunk(0, self._length, len(ids)),), self._cache.rotary, device)
        self._length += len(ids)
        self._prompt = given, tokens
        self._stepped = False
        stream = self._decoder.hidden(given, tokens, self._cache.layers)
        return self._decoder.logits(stream.rows(slice(-1, None)))[0]

    def step(self, token: Tensor) -> Tensor:
        self._cache.rotary.fit(self._length + 1)
        logits = self._graphs.run(token, self._length)
        self._length += 1
        self._stepped = True
        return logits[0]

    def finish(self, fed: Sequence[int] | None) -> None:
        self._cache.kept[0] = list(fed or ())
        self._prompt = None

    def first_nan(self) -> str:
        found: list[str] = []

        def look(name: str, output: Tensor) -> None:
            if not found and bool(output.isnan().any()):
                found.append(name)

        again = [] if self._prompt is None else [self._prompt]
        # What was stored is stored again, the same: a forward may be repeated.
        for given, tokens in [*again, self._graphs.last_inputs()] if self._stepped else again:
            self._decoder.hidden(given, tokens, self._cache.layers, look)
        return found[0] if found else "the head"

    def cache_bytes(self) -> int:
        return self._cache.bytes


class ModuleSteps:
    """transformers' forward; the cache is of the kind that the model makes for itself, new for each text."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._cache: Any = None
        self.cache_tokens = 0
        # Mamba and its sisters call by another name what all others call past_key_values.
        named = signature(model.forward).parameters
        self._word = "cache_params" if "cache_params" in named else "past_key_values"

    def start(self, ids: Sequence[int]) -> int:
        del ids
        self._cache = None
        return 0

    def forward(self, ids: Sequence[int]) -> Tensor:
        return self._forward(torch.tensor([list(ids)], dtype=torch.int64, device=self._device))

    def step(self, token: Tensor) -> Tensor:
        return self._forward(token.view(1, 1))

    def finish(self, fed: Sequence[int] | None) -> None:
        del fed
        self._cache = None

    def first_nan(self) -> str:
        return ""

    def _forward(self, ids: Tensor) -> Tensor:
        """Raises OperatorError for a model that keeps its state in another way than the rest."""
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
        """Of the floating-point tensors that the cache holds."""
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
