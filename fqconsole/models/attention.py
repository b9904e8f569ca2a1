"""What each layer's attention keeps per token or per sequence, from the fields that the model families use.

The kinds come from the first of these that config.json has: a list with a word per layer; a compact
pattern; a rule (every n-th layer). Then each kind gets its sizes. A layer without any attention is "linear"
with nothing kept.
"""

from collections.abc import Callable

from fqconsole.models.config import HEAD_DIM, HEADS, HIDDEN, KV_HEADS, Config
from fqconsole.models.description import LayerAttention
from fqconsole.models.errors import shown
from fqconsole.models.recurrent_state import state_elements

# What the words in layer_types and its sisters mean here. The compressed kinds of DeepSeek-V4 and the sparse
# ones keep at most every token once, so "full" is their upper bound.
LAYER_WORDS = {
    "full_attention": "full", "attention": "full", "full": "full", "global": "full",
    "global_attention": "full", "indexed_attention": "full", "deepseek_sparse_attention": "full",
    "qwen_sparse_attention": "full", "compressed_sparse_attention": "full",
    "heavily_compressed_attention": "full", "minimax_m3_sparse": "full", "window_attention": "full",
    "reference_sliding_attention": "full",
    "sliding_attention": "sliding", "sliding": "sliding", "local": "sliding", "local_attention": "sliding",
    "sliding_window_attention": "sliding", "swa": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear", "mamba": "linear", "mamba2": "linear", "conv": "linear",
    "recurrent": "linear", "gated_deltanet": "linear", "kda": "linear",
    "moe": "none", "mlp": "none", "dense": "none", "sparse": "none",
    "hybrid": "full+state", "hybrid_sliding": "sliding+state",
}  # fmt: skip


def read_attention(config: Config, layers: int) -> tuple[LayerAttention, ...]:
    """One entry per layer. Raises ModelError naming the field that is missing, malformed or unknown."""
    kinds = next(found for found in (read(config, layers) for read in _KIND_READERS) if found is not None)
    shared_from = layers - config.size("num_kv_shared_layers", default=0, least=0, most=layers)
    crossing = set(config.numbers("cross_attention_layers") or [])
    sizes = _Sizes(config, layers)
    own = config.part("per_layer_config")
    found = []
    for index, kind in enumerate(kinds):
        # A layer that reads an earlier layer's cache, or an image's, keeps nothing for the text.
        silent = index >= shared_from or index in crossing
        changed = own.part(str(index)).outer
        here = _Sizes(config.changed(changed), layers) if changed else sizes
        found.append(here.layer(index, kind, silent=silent))
    return tuple(found)


class _Sizes:
    """The sizes of each kind of layer in one model, read once."""

    def __init__(self, config: Config, layers: int) -> None:
        self.config = config
        self.layers = layers
        self.heads = config.size(*HEADS, default=0, least=0)
        self.kv_heads = _kv_heads(config, layers, self.heads)
        self.head_dim = _head_dim(config, self.heads)
        self.value_dim = config.optional_size("v_head_dim") or self.head_dim
        self.window = config.optional_size(
            "sliding_window", "attention_window_size", "window_size", "sliding_window_size"
        )
        self.state = state_elements(config)
        self.latent = self._latent()
        self.sparse_key = config.optional_size("index_head_dim") or 0  # the indexer's own key, one per token

    def _latent(self) -> int | None:
        rank = self.config.optional_size("kv_lora_rank")
        if rank is None:
            return None
        return rank + self.config.size("qk_rope_head_dim", least=0)

    def layer(self, index: int, kind: str, *, silent: bool) -> LayerAttention:
        kind, _, also = kind.partition("+")
        state = self.state if also or kind == "linear" else 0
        if kind in {"linear", "none"}:
            return LayerAttention("linear", 0, 0, 0, state_elements=state)
        kv_heads = 0 if silent else self.kv_heads[index]
        if not silent and (kv_heads == 0 or self.head_dim == 0):
            self.config.refuse(f"the field {HEADS[0]} is missing")
        if kind == "full" and self.latent is not None:
            return self._mla(silent, state)
        if kind == "full":
            return self._full(kv_heads, state)
        return self._windowed(kind, kv_heads, state)

    def _mla(self, silent: bool, state: int) -> LayerAttention:
        rope = self.config.size("qk_rope_head_dim", least=0)
        nope = self.config.size("qk_nope_head_dim", default=self.head_dim, least=0)
        latent = None if silent or self.latent is None else self.latent + self.sparse_key
        return LayerAttention(
            "mla",
            0 if silent else self.heads,
            nope + rope,
            self.value_dim,
            latent_dim=latent,
            state_elements=state,
        )

    def _full(self, kv_heads: int, state: int) -> LayerAttention:
        # Gemma 4: its full layers have a head width, and sometimes a head count, of their own.
        own = self.config.optional_size("global_head_dim")
        if own is None:
            return LayerAttention("full", kv_heads, self.head_dim, self.value_dim, state_elements=state)
        gated = self.config.flag("attention_k_eq_v", default=True)
        own_heads = self.config.optional_size("num_global_key_value_heads") if gated else None
        return LayerAttention(
            "full", own_heads if own_heads and kv_heads else kv_heads, own, own, state_elements=state
        )

    def _windowed(self, kind: str, kv_heads: int, state: int) -> LayerAttention:
        if kind == "chunked":
            window: int | None = self.config.size("attention_chunk_size")
        else:
            window = self.window
            if window is None:
                self.config.refuse("the field sliding_window is missing, which its sliding layers need")
        own = self.config.optional_size("swa_num_key_value_heads") if kind == "sliding" else None
        if own is None and self.config.model_type == "mimo_v2_flash":  # fixed in its class
            own = 2 * kv_heads
        head_dim = self.head_dim
        value_dim = self.value_dim
        if kind == "sliding":
            head_dim = self.config.optional_size("swa_head_dim") or head_dim
            value_dim = self.config.optional_size("swa_v_head_dim", "swa_head_dim") or value_dim
        return LayerAttention(
            "chunked" if kind == "chunked" else "sliding",
            own if own is not None and kv_heads else kv_heads,
            head_dim,
            value_dim,
            window=window,
            state_elements=state,
        )


def _kv_heads(config: Config, layers: int, heads: int) -> list[int]:
    # Falcon keeps one head whatever num_kv_heads says, unless it has the new decoder architecture.
    if config.flag("multi_query") and not config.flag("new_decoder_architecture"):
        return [1] * layers
    value = config.get(*KV_HEADS)
    if isinstance(value, list):
        return config.numbers(next(name for name in KV_HEADS if config.get(name) is not None), layers) or []
    if value is None:
        nested = config.part("attn_config")
        value = nested.size("kv_n_heads", default=heads, least=0)
        return [value] * layers
    return [config.size(*KV_HEADS, least=0)] * layers


def _head_dim(config: Config, heads: int) -> int:
    given = config.optional_size(*HEAD_DIM)
    if given is not None:
        return given
    rope = config.optional_size("qk_rope_head_dim")
    nope = config.optional_size("qk_nope_head_dim")
    if rope is not None and nope is not None:
        return rope + nope
    if heads == 0:
        return 0
    hidden = config.size(*HIDDEN)
    if hidden % heads:
        config.refuse(
            f"the field head_dim is missing, and {HIDDEN[0]} {hidden} is no multiple of {heads} heads"
        )
    return hidden // heads


def _by_words(config: Config, layers: int) -> list[str] | None:
    for name in ("layer_types", "layers_block_type"):
        words = config.words(name)
        if words is None:
            continue
        if len(words) != layers:
            config.refuse(f"the field {name} has {len(words)} items for {layers} layers")
        return [_kind(config, name, word) for word in words]
    return None


def _kind(config: Config, field: str, word: str) -> str:
    if word not in LAYER_WORDS:
        config.refuse(
            f"the field {field} holds {shown(word, 40)!r}, a kind of layer that fqconsole does not know"
        )
    return LAYER_WORDS[word]


def _by_letters(config: Config, layers: int) -> list[str] | None:
    """Nemotron-H: M (mamba), * (attention), - (mlp), E (experts). EXAONE 4 repeats L (local), G (global)."""
    pattern = config.get("hybrid_override_pattern")
    letters = {"M": "linear", "*": "full", "-": "none", "E": "none"}
    field = "hybrid_override_pattern"
    if pattern is None:
        pattern = config.get("sliding_window_pattern")
        letters = {"L": "sliding", "G": "full"}
        field = "sliding_window_pattern"
        if not isinstance(pattern, str) or not pattern:
            return None
        pattern = (pattern * (layers // len(pattern) + 1))[:layers] if len(pattern) <= layers else pattern
    if (
        not isinstance(pattern, str)
        or len(pattern) != layers
        or any(letter not in letters for letter in pattern)
    ):
        config.refuse(f"the field {field} does not describe {layers} layers")
    return [letters[letter] for letter in pattern]


def _by_block_types(config: Config, layers: int) -> list[str] | None:
    """RecurrentGemma repeats a short list; its attention blocks slide."""
    blocks = config.words("block_types")
    if not blocks:
        return None
    kinds = ["sliding" if _kind(config, "block_types", word) == "full" else "linear" for word in blocks]
    return [kinds[index % len(kinds)] for index in range(layers)]


def _by_period(config: Config, layers: int) -> list[str] | None:
    """Jamba: attention at an offset in each period, mamba else. Qwen3-Next: each n-th full, linear else."""
    period = config.optional_size("attn_layer_period")
    if period is not None:
        offset = config.size("attn_layer_offset", default=0, least=0)
        return ["full" if index % period == offset else "linear" for index in range(layers)]
    interval = config.optional_size("full_attention_interval")
    if interval is not None:
        return ["linear" if (index + 1) % interval else "full" for index in range(layers)]
    return None


def _by_indices(config: Config, layers: int) -> list[str] | None:
    """Bamba, LFM2: the layers with attention. Kimi Linear: the same from 1. MiniMax-01: 0 and 1 a layer."""
    for name in ("attn_layer_indices", "full_attn_idxs"):
        indices = config.numbers(name)
        if indices is not None:
            return ["full" if index in set(indices) else "linear" for index in range(layers)]
    numbered = config.part("linear_attn_config").numbers("full_attn_layers")
    if numbered is not None:
        return ["full" if index + 1 in set(numbered) else "linear" for index in range(layers)]
    typed = config.numbers("attn_type_list", layers)
    if typed is not None:
        return ["full" if number else "linear" for number in typed]
    return None


def _by_chunk(config: Config, layers: int) -> list[str] | None:
    """Llama 4: layers with rotary positions see their chunk only, the others (each fourth) everything."""
    if config.optional_size("attention_chunk_size") is None:
        return None
    rotary = config.numbers("no_rope_layers")
    if rotary and len(rotary) == layers:
        return ["chunked" if uses_rotary else "full" for uses_rotary in rotary]
    interval = config.size("no_rope_layer_interval", default=4)
    return ["chunked" if (index + 1) % interval else "full" for index in range(layers)]


def _by_window(config: Config, layers: int) -> list[str] | None:
    """A sliding window with a rule for which layers slide; without a rule, all do (Mistral)."""
    if config.optional_size("sliding_window") is None:
        return None
    pattern = config.optional_size("sliding_window_pattern", "_sliding_window_pattern")
    if pattern is not None:
        return ["sliding" if (index + 1) % pattern else "full" for index in range(layers)]
    if config.model_type in {"gemma2", "gpt_oss", "vaultgemma"}:
        return ["full" if index % 2 else "sliding" for index in range(layers)]
    # The Qwen family writes a window and switches it off; without the switch its classes default to off.
    if not config.flag("use_sliding_window", default=not config.model_type.startswith("qwen")):
        return ["full"] * layers
    first = config.size("max_window_layers", default=0, least=0)
    return ["sliding" if index >= first else "full" for index in range(layers)]


def _by_state(config: Config, layers: int) -> list[str] | None:
    """Mamba and its sisters: a recurrent state and no heads. Falcon-H1: both side by side in every layer."""
    if config.model_type == "falcon_h1":
        return ["full+state"] * layers
    if config.model_type in {"mamba", "mamba2", "falcon_mamba"} or config.get(*HEADS[:3]) is None:
        return ["linear"] * layers if state_elements(config) else None
    return None


def _all_full(config: Config, layers: int) -> list[str] | None:
    del config
    return ["full"] * layers


_KIND_READERS: tuple[Callable[[Config, int], list[str] | None], ...] = (
    _by_words, _by_letters, _by_block_types, _by_period, _by_indices, _by_chunk, _by_state, _by_window,
    _all_full,
)  # fmt: skip
