"""What is known of a model before anything is loaded: frozen data from config.json and the headers."""

from typing import Literal

import msgspec

Source = Literal["builtin", "folder", "cache", "hub", "config"]
AttentionKind = Literal["full", "sliding", "chunked", "mla", "linear"]


class TensorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One tensor as its safetensors header describes it; `start`, `end` count from the file's first byte."""

    name: str
    dtype: str  # safetensors' own word: BF16, F16, F32, I32, ...
    shape: tuple[int, ...]
    file: str  # relative to the model's folder
    start: int
    end: int
    unpacked: tuple[int, ...] = ()  # of a `weight_packed`: the shape of its weights, where it can be read

    @property
    def bytes(self) -> int:
        return self.end - self.start

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


class LayerAttention(msgspec.Struct, frozen=True):
    """The attention of one layer, as far as the KV cache needs it.

    `kv_heads` 0: the layer keeps no keys and values of its own (no attention, or it reads another layer's).
    """

    kind: AttentionKind
    kv_heads: int
    head_dim: int
    value_head_dim: int
    window: int | None = None  # tokens kept, for sliding and chunked attention
    latent_dim: int | None = None  # kv_lora_rank + rope_dim, for mla
    state_elements: int = (
        0  # kept per sequence whatever its length: linear attention, state space, convolution
    )


class QuantizationInfo(msgspec.Struct, frozen=True):
    """How an already quantized checkpoint is stored; `bits` is the width most matrices have."""

    method: str
    bits: int  # 0 = the checkpoint does not say
    group_sizes: tuple[int | None, ...]  # None = channel
    made_by_fqconsole: bool
    source_model: str | None = None


class ModelEntry(msgspec.Struct, frozen=True):
    """One line of the model list: enough to name it and find it, cheap to make."""

    id: str  # "demo", "Qwen/Qwen3-8B", or an absolute folder
    source: Source
    path: str | None  # folder with config.json; None for a hub id that is not downloaded
    revision: str | None = None
    problem: str | None = None  # a sentence when the model can't be used as it lies there


class ModelDescription(msgspec.Struct, frozen=True):
    """A model as config.json and its safetensors headers tell it; nothing is guessed: unknown is None."""

    id: str
    source: Source
    path: str | None
    revision: str | None
    architecture: str  # config.json "architectures"[0]
    model_type: str
    dtype: str  # "bfloat16" or "float16" or "float32": the dtype most weight bytes have
    parameters: int  # logical weights, tied heads once; of a quantized checkpoint: of the model it stands for
    bytes: int  # safetensors payload
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    vocab_size: int
    context_length: int
    tied_embeddings: bool
    experts: int  # 0 = dense
    experts_per_token: int
    attention: tuple[LayerAttention, ...]  # one per layer
    tensors: tuple[TensorInfo, ...]
    quantization: QuantizationInfo | None = None
    license: str | None = None
    suggested_prompt: str | None = None
    expert_intermediate_size: int = 0  # inner width of one routed expert; 0 = dense
    notes: tuple[
        str, ...
    ] = ()  # sentences an operator should see: code of its own that is not run, upper bounds
    family: str = ""  # the type by which fqconsole's own forward knows it; empty: transformers' runs
