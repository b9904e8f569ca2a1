"""From config.json and safetensors headers to a ModelDescription; no torch, nothing loaded."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fqconsole.models.architecture import notes, read_architecture
from fqconsole.models.attention import read_attention
from fqconsole.models.config import (
    CONTEXT,
    EXPERT_INTERMEDIATE,
    EXPERTS,
    EXPERTS_PER_TOKEN,
    HEADS,
    HIDDEN,
    INTERMEDIATE,
    LAYERS,
    MAX_LAYERS,
    VOCAB,
    Config,
    read_config,
)
from fqconsole.models.description import ModelDescription, ModelEntry, Source, TensorInfo
from fqconsole.models.errors import ModelError
from fqconsole.models.families import known_family
from fqconsole.models.parameters import EMBEDDING, count_parameters, has_own_head
from fqconsole.models.quantization import MANIFEST, read_manifest, read_quantization
from fqconsole.models.stored_shapes import with_unpacked
from fqconsole.models.weight_files import read_tensors

DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
EXPERT_UP = re.compile(r"\.(up_proj|w3|w1|gate_proj|gate_up_proj|fc1)(\.weight(_packed)?)?$")


def describe_folder(
    folder: Path,
    *,
    id: str,
    source: Source,
    revision: str | None = None,
    suggested_prompt: str | None = None,
) -> ModelDescription:
    """The model in `folder`. Raises ModelError: see read_config, read_tensors, read_attention."""
    config = read_config(folder / "config.json")
    read_architecture(config)  # a wrong kind of model is the better news than a missing shard
    tensors = with_unpacked(folder, read_tensors(folder))
    head = read_manifest(folder / MANIFEST)
    return build(
        config,
        tensors,
        entry=ModelEntry(id=id, source=source, path=str(folder), revision=revision),
        manifest=folder / MANIFEST,
        license=read_license(folder / "README.md") or (head.license if head else None),
        suggested_prompt=suggested_prompt or (head.suggested_prompt if head else None),
    )


def build(
    config: Config,
    tensors: Sequence[TensorInfo],
    *,
    entry: ModelEntry,
    manifest: Path | None,
    license: str | None,
    suggested_prompt: str | None = None,
) -> ModelDescription:
    """The description of a model whose config and tensors are known, wherever they came from."""
    layers = config.size(*LAYERS, default=_layers_by_pattern(config), most=MAX_LAYERS)
    quantization = read_quantization(config, manifest)
    tied = _tied(config, tensors)
    experts = _experts(config)
    return ModelDescription(
        id=entry.id,
        source=entry.source,
        path=entry.path,
        revision=entry.revision,
        architecture=read_architecture(config),
        model_type=config.model_type,
        dtype=_dtype(config, tensors),
        parameters=count_parameters(tensors, quantization, tied=tied),
        bytes=sum(tensor.bytes for tensor in tensors),
        layers=layers,
        hidden_size=config.size(*HIDDEN),
        intermediate_size=_intermediate(config),
        heads=config.size(*HEADS, default=0, least=0),
        vocab_size=config.size(*VOCAB, default=_vocabulary(tensors)),
        context_length=config.size(*CONTEXT),
        tied_embeddings=tied,
        experts=experts,
        experts_per_token=_experts_per_token(config) if experts else 0,
        attention=read_attention(config, layers),
        tensors=tuple(tensors),
        quantization=quantization,
        license=license,
        suggested_prompt=suggested_prompt,
        expert_intermediate_size=_expert_width(config, tensors) if experts else 0,
        notes=notes(config),
        family=known_forward(config),
    )


def read_license(card: Path) -> str | None:
    """The license word in a model card's front matter, None where there is none."""
    try:
        with card.open("rb") as opened:
            head = opened.read(1 << 16).decode("utf-8", "replace")
    except OSError:
        return None
    parts = head.split("---")
    if not head.lstrip().startswith("---") or len(parts) < 3:
        return None
    found = re.search(r"^license(?:_name)?:\s*['\"]?([\w.+-]+)", parts[1], re.MULTILINE)
    return found[1] if found else None


def known_forward(config: Config) -> str:
    """The type of the whole model where sessions have a forward of their own for it."""
    model_type = config.outer.get("model_type")
    known = isinstance(model_type, str) and known_family(model_type, config.get) is not None
    return str(model_type) if known else ""


def _dtype(config: Config, tensors: Sequence[TensorInfo]) -> str:
    held = Counter[str]()
    for tensor in tensors:
        if tensor.dtype in DTYPES:
            held[DTYPES[tensor.dtype]] += tensor.bytes
    # The scales of a packed checkpoint count here too: they carry the dtype the model computes in.
    if held:
        return held.most_common(1)[0][0]
    named = config.get("dtype", "torch_dtype")
    return named if named in DTYPES.values() else "bfloat16"


def _tied(config: Config, tensors: Sequence[TensorInfo]) -> bool:
    """What config.json says; families that tie by default leave it out, and then what is stored decides."""
    for part in (config.text, config.outer):
        said = part.get("tie_word_embeddings")
        if isinstance(said, bool):
            return said
    return not has_own_head(tensors)


def _layers_by_pattern(config: Config) -> int | None:
    words = config.words("layer_types") or config.words("layers_block_type")
    if words:
        return len(words)
    pattern = config.get("hybrid_override_pattern")
    return len(pattern) if isinstance(pattern, str) and pattern else None


def _intermediate(config: Config) -> int:
    given = config.get(*INTERMEDIATE)
    if isinstance(given, list):  # a width per layer: the widest decides
        widths = config.numbers(next(name for name in INTERMEDIATE if config.get(name) is not None))
        return max(widths or [0])
    if given is None and config.optional_size("expansion_ratio") is None:
        nested = config.part("ffn_config").optional_size("ffn_hidden_size")
        return (
            nested if nested is not None else 4 * config.size(*HIDDEN)
        )  # GPT-2 and its sisters: null means 4×
    return config.size(
        *INTERMEDIATE, default=config.size("expansion_ratio", default=4) * config.size(*HIDDEN)
    )


def _vocabulary(tensors: Sequence[TensorInfo]) -> int | None:
    rows = [tensor.shape[0] for tensor in tensors if EMBEDDING.search(tensor.name) and len(tensor.shape) == 2]
    return rows[0] if rows else None


def _experts(config: Config) -> int:
    found = config.optional_size(*EXPERTS)
    return found or config.part("ffn_config").optional_size("moe_num_experts") or 0


def _experts_per_token(config: Config) -> int:
    found = config.optional_size(*EXPERTS_PER_TOKEN)
    return found or config.part("ffn_config").optional_size("moe_top_k") or 1


def _expert_width(config: Config, tensors: Sequence[TensorInfo]) -> int:
    """Inner width of a routed expert: said, or the rows of an expert's up projection, or the dense width."""
    found = config.optional_size(*EXPERT_INTERMEDIATE)
    if found is not None:
        return found
    for tensor in tensors:
        if ".experts." in tensor.name and EXPERT_UP.search(tensor.name) and len(tensor.shape) == 2:
            return tensor.shape[0]
    return _intermediate(config)


def require_path(entry: ModelEntry) -> Path:
    """The folder of an entry. Raises ModelError where it has none or it can't be used as it lies there."""
    if entry.problem is not None:
        raise ModelError(entry.problem, "Download it again, or pick another model.")
    if entry.path is None:
        raise ModelError(f"{entry.id} is not on this machine.", "Download it first.")
    return Path(entry.path)
