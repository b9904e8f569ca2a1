"""What a GGUF file says besides weights: the architecture's numbers, tensor names, the tokenizer."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fqconsole.errors import OperatorError
from quantizer.reader import Checkpoint

# model_type → llama.cpp's word for the architecture.
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
}
SERVE = "Serve the checkpoint as it is: vLLM, SGLang and transformers read it."

# How a tokenizer cuts text into words, by its pattern → llama.cpp's word for that.
_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CUTS = {
    _LETTERS + r"\p{N}{1,3}" + _REST: "llama-bpe",
    _LETTERS + r"\p{N}" + _REST: "qwen2",
}
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama.cpp's kinds of token


@dataclass(frozen=True)
class TokenizerWords:
    """A byte-level BPE tokenizer; `doubt` says where llama.cpp may cut text in another way."""

    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[str, ...]
    cut: str
    ids: dict[str, int]  # "bos", "eos", "pad"
    adds_start: bool
    chat_template: str | None
    doubt: str = ""


class Words:
    """The words of one checkpoint."""

    def __init__(
        self, config: dict[str, Any], architecture: str, tokenizer: TokenizerWords, name: str
    ) -> None:
        self.config = config
        self.architecture = architecture
        self.tokenizer = tokenizer
        self.name = name
        self._names: Any = None

    def tell(self, writer: Any, gguf: Any) -> None:
        """Write them all."""
        c = self.config
        heads = c["num_attention_heads"]
        head_dim = c.get("head_dim") or c["hidden_size"] // heads
        writer.add_name(self.name)
        writer.add_block_count(c["num_hidden_layers"])
        writer.add_context_length(c["max_position_embeddings"])
        writer.add_embedding_length(c["hidden_size"])
        writer.add_feed_forward_length(c["intermediate_size"])
        writer.add_head_count(heads)
        writer.add_head_count_kv(c.get("num_key_value_heads") or heads)
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_rope_dimension_count(head_dim)
        writer.add_rope_freq_base(float(_rope(c).get("rope_theta") or 10000.0))
        writer.add_layer_norm_rms_eps(c.get("rms_norm_eps") or 1e-6)
        writer.add_vocab_size(c["vocab_size"])
        if self.architecture == "qwen3moe":
            writer.add_expert_count(c.get("num_experts") or c["num_local_experts"])
            writer.add_expert_used_count(c["num_experts_per_tok"])
            writer.add_expert_feed_forward_length(c["moe_intermediate_size"])
        architecture = next(k for k, word in gguf.MODEL_ARCH_NAMES.items() if word == self.architecture)
        self._names = gguf.get_tensor_name_map(architecture, c["num_hidden_layers"])
        self._tell_tokenizer(writer)

    def _tell_tokenizer(self, writer: Any) -> None:
        told = self.tokenizer
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(told.cut)
        writer.add_token_list(list(told.tokens))
        writer.add_token_types(list(told.kinds))
        writer.add_token_merges(list(told.merges))
        for word, number in told.ids.items():
            getattr(writer, f"add_{word}_token_id")(number)
        writer.add_add_bos_token(told.adds_start)
        if told.chat_template is not None:
            writer.add_chat_template(told.chat_template)

    def name_of(self, name: str) -> str:
        """GGUF's name of a tensor. Raises OperatorError for one that this architecture doesn't have there."""
        found = self._names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise OperatorError(f"GGUF has no place for {name} in a {self.architecture} model.", SERVE)
        return str(found)

    def row_order(self, name: str, rows: int) -> Tensor | None:
        """The order of a query's or key's rows: transformers rotates halves, llama.cpp neighbours."""
        if self.architecture != "llama" or not name.endswith(
            ("q_proj", "k_proj", "q_proj.bias", "k_proj.bias", "q_proj.weight", "k_proj.weight")
        ):
            return None
        heads = self.config["num_attention_heads"]
        if ".k_proj" in name:
            heads = self.config.get("num_key_value_heads") or heads
        return torch.arange(rows).reshape(heads, 2, -1).transpose(1, 2).reshape(-1)


def rope_factors(config: dict[str, Any]) -> Tensor | None:
    """What each rotary frequency is divided by, float32 `[head_dim / 2]`, in Llama 3's way.

    Long waves are slowed by the whole factor, short ones not at all, those between by their share. None where
    nothing is scaled.
    """
    rope = _rope(config)
    if (rope.get("rope_type") or rope.get("type")) != "llama3":
        return None
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    theta, factor = float(rope["rope_theta"] or 10000.0), float(rope["factor"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    frequencies = theta ** -(torch.arange(0, width, 2) / width)
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    share = ((turns - low) / (high - low)).clamp(0, 1)  # 1: at least `high` turns in the original context
    factors: Tensor = 1 / ((1 - share) / factor + share)
    return factors


def read_words(checkpoint: Checkpoint) -> Words:
    """The words of `checkpoint`. Raises OperatorError for what can't be said in GGUF here."""
    config = dict(checkpoint.config)
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise OperatorError(
            f"A {kind} model can't be written as GGUF here; {', '.join(ARCHITECTURES)} can.", SERVE
        )
    rope = str(_rope(config).get("rope_type") or _rope(config).get("type") or "default")
    if rope != "default" and (rope, ARCHITECTURES[kind]) != ("llama3", "llama"):
        raise OperatorError(f"Rotary embeddings of the kind {rope} can't be written as GGUF here.", SERVE)
    if kind == "qwen3_moe" and (config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1):
        raise OperatorError("GGUF wants experts in every layer, and this model has dense ones too.", SERVE)
    if config.get("sliding_window") and config.get("use_sliding_window", kind == "mistral"):
        raise OperatorError("A sliding window of attention can't be written as GGUF here.", SERVE)
    name = checkpoint.manifest.source.model if checkpoint.manifest else checkpoint.folder.name
    return Words(config, ARCHITECTURES[kind], _tokenizer(checkpoint.folder, config), name)


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """transformers 5 has it in one place, older checkpoints in two."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return {"rope_theta": config.get("rope_theta"), **scaling}


def _tokenizer(folder: Path, config: dict[str, Any]) -> TokenizerWords:
    stored = _json(folder / "tokenizer.json")
    about = _json(folder / "tokenizer_config.json")
    model = stored.get("model") or {}
    level = _pieces(stored.get("pre_tokenizer"), "ByteLevel")
    if model.get("type") != "BPE" or model.get("byte_fallback") or not level:
        raise OperatorError("Only byte-level BPE tokenizers can be written as GGUF here.", SERVE)
    size = int(config["vocab_size"])
    tokens = {int(number): word for word, number in model["vocab"].items()}
    kinds = dict.fromkeys(tokens, NORMAL)
    for added in stored.get("added_tokens") or ():
        tokens[int(added["id"])] = added["content"]
        kinds[int(added["id"])] = CONTROL if added["special"] else USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    cut, doubt = _cut(stored, level)
    numbers = {word: number for number, word in tokens.items()}
    template = folder / "chat_template.jinja"
    return TokenizerWords(
        tokens=tuple(tokens.get(number, f"[PAD{number}]") for number in range(size)),
        kinds=tuple(kinds.get(number, UNUSED) for number in range(size)),
        merges=tuple(merges),
        cut=cut,
        ids=_special_ids(config, about, numbers),
        adds_start=any(
            "SpecialToken" in piece["single"][0]
            for piece in _pieces(stored.get("post_processor"), "TemplateProcessing")
            if piece.get("single")
        ),
        chat_template=template.read_text(encoding="utf-8")
        if template.is_file()
        else about.get("chat_template"),
        doubt=doubt,
    )


def _special_ids(config: dict[str, Any], about: dict[str, Any], numbers: dict[str, int]) -> dict[str, int]:
    ids = {}
    for word in ("bos", "eos", "pad"):
        named = about.get(f"{word}_token")
        named = named.get("content") if isinstance(named, dict) else named
        found = (
            numbers.get(named, config.get(f"{word}_token_id")) if named else config.get(f"{word}_token_id")
        )
        found = found[0] if isinstance(found, list) and found else found
        if isinstance(found, int):
            ids[word] = found
    return ids


def _cut(stored: dict[str, Any], level: list[dict[str, Any]]) -> tuple[str, str]:
    """llama.cpp's word for how text is cut before merging, and what is doubtful about it."""
    patterns = [
        str(piece.get("pattern", {}).get("Regex")) for piece in _pieces(stored["pre_tokenizer"], "Split")
    ]
    if not patterns and level[0].get("use_regex", True) and not level[0].get("add_prefix_space"):
        return "gpt-2", ""
    if len(patterns) == 1 and patterns[0] in CUTS:
        return CUTS[patterns[0]], ""
    return "default", "llama.cpp has no word for how this tokenizer cuts text, and may cut it in another way."


def _pieces(step: Any, kind: str) -> list[dict[str, Any]]:
    """The parts of a tokenizer's step that are of this kind."""
    if not isinstance(step, dict):
        return []
    parts = step.get("pretokenizers") or step.get("processors") or [step]
    return [part for part in parts if part.get("type") == kind]


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as failure:
        raise OperatorError(
            f"{path} can't be read.", "Copy the model's tokenizer beside the weights."
        ) from failure
    return value if isinstance(value, dict) else {}
