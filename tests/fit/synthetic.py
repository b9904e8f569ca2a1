"""Places, and descriptions of real shapes made without any file: dense, experts, tied, hybrid."""

from fqconsole.fit import Capacity
from fqconsole.models.description import LayerAttention, ModelDescription, QuantizationInfo, TensorInfo

GIB = 1 << 30
WIDTHS = {"BF16": 2, "F16": 2, "F32": 4}


def gpu(free, total=None, **fields):
    return Capacity("a GPU", total or free, free, "gpu", **fields)


def host(free=64 * GIB):
    return Capacity("this machine's memory", free, free, "host")


class Tensors:
    """Collects tensors with offsets that follow each other."""

    def __init__(self, dtype: str = "BF16") -> None:
        self.dtype = dtype
        self.held: list[TensorInfo] = []
        self.position = 0

    def add(self, name: str, *shape: int) -> None:
        count = WIDTHS[self.dtype]
        for size in shape:
            count *= size
        end = self.position + count
        self.held.append(TensorInfo(name, self.dtype, shape, "model.safetensors", self.position, end))
        self.position += count


def described(tensors: Tensors, attention: tuple[LayerAttention, ...], **fields) -> ModelDescription:
    dtype = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[tensors.dtype]
    known = {
        "id": "synthetic", "source": "hub", "path": None, "revision": None, "architecture": "XForCausalLM",
        "model_type": "x", "dtype": dtype, "parameters": sum(t.elements for t in tensors.held),
        "bytes": tensors.position, "layers": len(attention), "hidden_size": 64, "intermediate_size": 128,
        "heads": 4, "vocab_size": 96, "context_length": 4096, "tied_embeddings": False, "experts": 0,
        "experts_per_token": 0, "attention": attention, "tensors": tuple(tensors.held),
    }  # fmt: skip
    return ModelDescription(**{**known, **fields})


def llama(
    *,
    layers: int = 4,
    hidden: int = 256,
    inner: int = 512,
    heads: int = 4,
    kv_heads: int = 2,
    vocab: int = 1000,
    dtype: str = "BF16",
    **fields,
) -> ModelDescription:
    """Like Llama; Llama-3-8B is hidden 4096, inner 14336, 32 layers, 32 and 8 heads, 128,256 words."""
    width = hidden // heads
    tensors = Tensors(dtype)
    tensors.add("model.embed_tokens.weight", vocab, hidden)
    for layer in range(layers):
        place = f"model.layers.{layer}."
        tensors.add(place + "input_layernorm.weight", hidden)
        tensors.add(place + "self_attn.q_proj.weight", hidden, hidden)
        tensors.add(place + "self_attn.k_proj.weight", kv_heads * width, hidden)
        tensors.add(place + "self_attn.v_proj.weight", kv_heads * width, hidden)
        tensors.add(place + "self_attn.o_proj.weight", hidden, hidden)
        tensors.add(place + "post_attention_layernorm.weight", hidden)
        tensors.add(place + "mlp.gate_proj.weight", inner, hidden)
        tensors.add(place + "mlp.up_proj.weight", inner, hidden)
        tensors.add(place + "mlp.down_proj.weight", hidden, inner)
    tensors.add("model.norm.weight", hidden)
    if not fields.get("tied_embeddings"):
        tensors.add("lm_head.weight", vocab, hidden)
    attention = (LayerAttention("full", kv_heads, width, width),) * layers
    known = {"hidden_size": hidden, "intermediate_size": inner, "heads": heads, "vocab_size": vocab}
    known |= {"family": "llama", "model_type": "llama"}
    return described(tensors, fields.pop("attention", attention), **{**known, **fields})


def opt_175b() -> ModelDescription:
    """OPT-175B: 96 layers, hidden 12288, inner 49152, biases, tied embeddings, learned positions."""
    hidden, inner, layers = 12288, 49152, 96
    tensors = Tensors("F16")
    tensors.add("model.decoder.embed_tokens.weight", 50272, hidden)
    tensors.add("model.decoder.embed_positions.weight", 2050, hidden)
    for layer in range(layers):
        place = f"model.decoder.layers.{layer}."
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            tensors.add(f"{place}self_attn.{name}.weight", hidden, hidden)
            tensors.add(f"{place}self_attn.{name}.bias", hidden)
        tensors.add(place + "fc1.weight", inner, hidden)
        tensors.add(place + "fc1.bias", inner)
        tensors.add(place + "fc2.weight", hidden, inner)
        tensors.add(place + "fc2.bias", hidden)
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            tensors.add(f"{place}{name}.weight", hidden)
            tensors.add(f"{place}{name}.bias", hidden)
    tensors.add("model.decoder.final_layer_norm.weight", hidden)
    tensors.add("model.decoder.final_layer_norm.bias", hidden)
    return described(
        tensors, (LayerAttention("full", 96, 128, 128),) * layers, id="facebook/opt-175b", hidden_size=hidden,
        intermediate_size=inner, heads=96, vocab_size=50272, context_length=2048, tied_embeddings=True,
        family="opt",
    )  # fmt: skip


def qwen3_30b_a3b() -> ModelDescription:
    """Qwen3-30B-A3B: 48 layers of 128 experts, 18,723 tensors."""
    hidden, width = 2048, 768
    tensors = Tensors()
    tensors.add("model.embed_tokens.weight", 151936, hidden)
    for layer in range(48):
        place = f"model.layers.{layer}."
        tensors.add(place + "input_layernorm.weight", hidden)
        tensors.add(place + "self_attn.q_proj.weight", 4096, hidden)
        tensors.add(place + "self_attn.k_proj.weight", 512, hidden)
        tensors.add(place + "self_attn.v_proj.weight", 512, hidden)
        tensors.add(place + "self_attn.o_proj.weight", hidden, 4096)
        tensors.add(place + "mlp.gate.weight", 128, hidden)
        for expert in range(128):
            tensors.add(f"{place}mlp.experts.{expert}.gate_proj.weight", width, hidden)
            tensors.add(f"{place}mlp.experts.{expert}.up_proj.weight", width, hidden)
            tensors.add(f"{place}mlp.experts.{expert}.down_proj.weight", hidden, width)
    tensors.add("model.norm.weight", hidden)
    tensors.add("lm_head.weight", 151936, hidden)
    return described(
        tensors, (LayerAttention("full", 4, 128, 128),) * 48, id="Qwen/Qwen3-30B-A3B", hidden_size=hidden,
        intermediate_size=6144, heads=32, vocab_size=151936, context_length=40960, experts=128,
        experts_per_token=8, expert_intermediate_size=width, family="qwen3_moe",
    )  # fmt: skip


def packed_model(bits=4):
    """`llama()` as a checkpoint of ours has it, in groups of 64."""
    plain = llama()
    tensors = Tensors()
    for tensor in plain.tensors:
        if "_proj" not in tensor.name:
            tensors.add(tensor.name, *tensor.shape)
            continue
        stem = tensor.name.removesuffix("weight")
        rows, k = tensor.shape
        tensors.dtype = "F32"  # as wide as the words
        tensors.add(stem + "weight_packed", rows, k * bits // 32)
        tensors.dtype = "BF16"
        tensors.add(stem + "weight_scale", rows, k // 64)
    info = QuantizationInfo("compressed-tensors", bits, (64,), made_by_fqconsole=True)
    return described(
        tensors,
        plain.attention,
        quantization=info,
        hidden_size=256,
        intermediate_size=512,
        family="llama",
        vocab_size=1000,
    )
