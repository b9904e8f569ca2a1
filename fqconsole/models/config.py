"""config.json as typed, checked fields: every wrong or missing one gets a sentence that names it."""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from fqconsole.errors import MALFORMED
from fqconsole.models.class_defaults import CLASS_DEFAULTS
from fqconsole.models.errors import ModelError, shown

MAX_CONFIG_BYTES = 4 << 20  # real ones are under 100 kB
MAX_FIELD = 1 << 40
MAX_LAYERS = 10_000
NESTED = ("text_config", "language_config", "llm_config", "thinker_config")

# One field, many names: the first is the common one, used in sentences.
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model", "n_embed", "model_dim")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num", "kv_n_heads")
HEAD_DIM = ("head_dim", "attention_head_dim", "kv_channels")
INTERMEDIATE = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_ff", "intermediate_size_mlp")
VOCAB = ("vocab_size", "padded_vocab_size")
CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx",
    "model_max_length", "context_length",
)  # fmt: skip
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")
EXPERTS_PER_TOKEN = (
    "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "top_k_experts",
    "moe_router_topk",
)  # fmt: skip
EXPERT_INTERMEDIATE = ("moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size")


class Config:
    """The fields of the language model in a config.json: a nested text config first, the outer one second."""

    def __init__(self, data: Mapping[str, Any], place: str = "config.json") -> None:
        self.place = place
        self.outer = data
        self.text = _language_part(data)
        found = self.text.get("model_type") or data.get("model_type") or ""
        self.model_type = found if isinstance(found, str) else ""
        self._defaults = CLASS_DEFAULTS.get(self.model_type, {})

    def refuse(self, what: str, next_step: str = "") -> NoReturn:
        """Raise the sentence for a config.json that can't be used."""
        raise ModelError(
            f"{shown(self.place, 300)}: {what}.", next_step or "Pick another model, or repair the file."
        )

    def get(self, *names: str) -> Any:
        """The first of the names that is set (not null), or None; then what the model's class fills in."""
        for place in (self.text, self.outer, self._defaults):
            for name in names:
                value = place.get(name)
                if value is not None:
                    return value
        return None

    def size(self, *names: str, default: int | None = None, least: int = 1, most: int = MAX_FIELD) -> int:
        """A whole number. Raises ModelError naming the field: missing, no whole number, or out of range."""
        value = self.get(*names)
        if value is None:
            if default is None:
                self.refuse(f"the field {names[0]} is missing")
            return default
        return self._checked(names[0], value, least, most)

    def optional_size(self, *names: str) -> int | None:
        """A whole number ≥ 1, or None when the field is unset (models write 0, -1 and false for that too)."""
        value = self.get(*names)
        if value is None or value in (0, -1) or value is False:
            return None
        return self._checked(names[0], value, 1, MAX_FIELD)

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth value. Raises ModelError naming the field when it is something else."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(f"the field {name} is {shown(value, 40)}, not true or false")
        return value

    def words(self, name: str, count: int | None = None) -> list[str] | None:
        """A list of strings, `count` long where that is given; None when the field is not set."""
        found = self._list(name, count)
        if found is not None and not all(isinstance(word, str) for word in found):
            self.refuse(f"the field {name} holds something that is no word")
        return found

    def numbers(self, name: str, count: int | None = None) -> list[int] | None:
        """A list of whole numbers ≥ 0, `count` long where that is given; None when the field is not set."""
        found = self._list(name, count)
        if found is None:
            return None
        return [self._checked(name, value, 0, MAX_FIELD) for value in found]

    def part(self, name: str) -> "Config":
        """A nested object as a Config of its own (empty when it is not set)."""
        value = self.get(name)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.refuse(f"the field {name} is no object")
        return Config({key: item for key, item in value.items() if key != "model_type"}, self.place)

    def changed(self, fields: Mapping[str, Any]) -> "Config":
        """The same config with some fields set anew."""
        merged = {key: value for key, value in {**self.outer, **self.text}.items() if key not in NESTED}
        return Config({**merged, **fields}, self.place)

    def _list(self, name: str, count: int | None) -> list[Any] | None:
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > MAX_LAYERS:
            self.refuse(f"the field {name} is no list of at most {MAX_LAYERS} items")
        if count is not None and len(value) != count:
            self.refuse(f"the field {name} has {len(value)} items for {count} layers")
        return value

    def _checked(self, name: str, value: Any, least: int, most: int) -> int:
        if isinstance(value, float) and value.is_integer():  # some files write 4096.0
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(f"the field {name} is {shown(value, 40)}, not a whole number")
        if not least <= value <= most:
            self.refuse(f"the field {name} is {shown(value, 40)}, outside {least} to {most}")
        return value


def read_config(path: Path) -> Config:
    """The config.json at `path`. Raises ModelError when it is missing, too large, or no JSON object."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{path} is no regular file.", "Name a folder with a model in it.")
        if found.st_size > MAX_CONFIG_BYTES:
            raise ModelError(
                f"{path} is {found.st_size >> 20} MiB, which no config.json is.", "Repair the file."
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path.parent} has no config.json.", "Name a folder with a model in it.") from None
    except OSError as failure:
        raise ModelError(
            f"{path} can't be read: {failure.strerror or failure}.", "Check its rights."
        ) from failure
    return parse_config(data, str(path))


def parse_config(data: bytes, place: str) -> Config:
    """A config from its JSON text. Raises ModelError when that is no JSON object."""
    if len(data) > MAX_CONFIG_BYTES:
        raise ModelError(f"{place} is {len(data) >> 20} MiB, which no config.json is.", "Pick another model.")
    try:
        decoded = msgspec.json.decode(data)
    except MALFORMED as failure:
        raise ModelError(f"{place} is no valid JSON: {shown(failure, 120)}.", "Repair the file.") from None
    if not isinstance(decoded, dict):
        raise ModelError(f"{place} holds no JSON object.", "Repair the file.")
    return Config(decoded, place)


def _language_part(data: Mapping[str, Any]) -> Mapping[str, Any]:
    part: Mapping[str, Any] = data
    for _ in range(4):  # deeper than any real nesting
        inner = next((part[name] for name in NESTED if isinstance(part.get(name), dict)), None)
        if inner is None:
            break
        part = inner
    return part
