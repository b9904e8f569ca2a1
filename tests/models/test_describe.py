"""What a description tells of dense models, experts, tied heads and quantized checkpoints."""

import json
import struct

import pytest

from fqconsole.models import describe_folder
from tests.models.checkpoints import LLAMA, llama_shapes, safetensors_bytes, write_model


def described(folder):
    return describe_folder(folder, id="m", source="folder")


def test_a_dense_model(tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: en\n---\nA card.")
    model = described(folder)
    layer = 64 * 64 * 2 + 32 * 64 * 2 + 3 * 128 * 64 + 2 * 64
    assert model.parameters == 2 * layer + 2 * 96 * 64 + 64
    assert model.bytes == 2 * model.parameters
    assert (model.architecture, model.model_type, model.dtype) == ("LlamaForCausalLM", "llama", "bfloat16")
    assert (model.layers, model.heads, model.hidden_size, model.vocab_size) == (2, 4, 64, 96)
    assert (model.context_length, model.experts, model.license) == (512, 0, "apache-2.0")
    assert model.quantization is None
    assert not model.tied_embeddings


def test_a_tied_head_counts_once_even_where_it_is_stored(tmp_path):
    tied = {**LLAMA, "tie_word_embeddings": True}
    stored = described(write_model(tmp_path / "a", tied))
    without = {name: shape for name, shape in llama_shapes().items() if name != "lm_head.weight"}
    plain = described(write_model(tmp_path / "b", tied, without))
    assert stored.parameters == plain.parameters
    assert stored.tied_embeddings
    assert plain.tied_embeddings


@pytest.mark.parametrize("stored", [True, False])
def test_where_config_does_not_say_the_stored_head_decides(tmp_path, stored):
    silent = {key: value for key, value in LLAMA.items() if key != "tie_word_embeddings"}
    shapes = {name: shape for name, shape in llama_shapes().items() if stored or name != "lm_head.weight"}
    assert described(write_model(tmp_path / "m", silent, shapes)).tied_embeddings is not stored


def test_masks_of_old_exports_are_no_weights(tmp_path):
    extra = {
        **llama_shapes(),
        "model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", (8,)),
        "h.0.attn.bias": ("U8", (1, 1, 16, 16)),
        "h.0.attn.masked_bias": ("F32", ()),
    }
    plain = described(write_model(tmp_path / "a"))
    assert described(write_model(tmp_path / "b", shapes=extra)).parameters == plain.parameters


def test_experts(tmp_path):
    config = {
        **LLAMA, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 4,
        "num_experts_per_tok": 2,
    }  # fmt: skip
    shapes = {name: shape for name, shape in llama_shapes().items() if ".mlp." not in name}
    for layer in range(2):
        shapes[f"model.layers.{layer}.mlp.gate.weight"] = ("BF16", (4, 64))
        for expert in range(4):
            place = f"model.layers.{layer}.mlp.experts.{expert}."
            shapes[place + "gate_proj.weight"] = ("BF16", (32, 64))
            shapes[place + "up_proj.weight"] = ("BF16", (32, 64))
            shapes[place + "down_proj.weight"] = ("BF16", (64, 32))
    model = described(write_model(tmp_path / "m", config, shapes))
    assert (model.experts, model.experts_per_token, model.expert_intermediate_size) == (4, 2, 32)
    said = described(write_model(tmp_path / "n", {**config, "moe_intermediate_size": 48}, shapes))
    assert said.expert_intermediate_size == 48


def test_the_dtype_is_the_one_most_bytes_have(tmp_path):
    shapes = {
        name: ("F16" if len(shape) > 1 else "F32", shape) for name, (_, shape) in llama_shapes().items()
    }
    assert described(write_model(tmp_path / "m", shapes=shapes)).dtype == "float16"


def packed(bits=4, group=32):
    """A model's shapes as a pack-quantized checkpoint stores them, and the values of its shape tensors."""
    shapes, values = {}, {}
    for name, (dtype, shape) in llama_shapes().items():
        if ".layers." not in name or len(shape) == 1:
            shapes[name] = (dtype, shape)
            continue
        stem = name.removesuffix("weight")
        rows, k = shape
        groups = 1 if group is None else k // group
        shapes[stem + "weight_packed"] = ("I32", (rows, -(-k * bits // 32)))
        shapes[stem + "weight_scale"] = ("BF16", (rows, groups))
        shapes[stem + "weight_shape"] = ("I64", (2,))
        values[stem + "weight_shape"] = struct.pack("<qq", rows, k)
    return shapes, values


def packed_folder(folder, bits, group, targets=(1,), manifest=None):
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": group}
    config = {
        **LLAMA,
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "config_groups": {"group_0": {"targets": list(targets), "weights": weights}},
        },
    }
    shapes, values = packed(bits, group)
    write_model(folder, config, shapes)
    (folder / "model.safetensors").write_bytes(safetensors_bytes(shapes, values))
    if manifest is not None:
        (folder / "fqconsole_manifest.json").write_text(manifest)
    return folder


@pytest.mark.parametrize(("bits", "group"), [(4, 32), (3, 32), (8, None), (3, None)])
def test_a_packed_checkpoint_counts_as_the_model_it_stands_for(tmp_path, bits, group):
    model = described(packed_folder(tmp_path / "q", bits, group))
    plain = described(write_model(tmp_path / "m"))
    assert model.parameters == plain.parameters
    assert model.bytes < plain.bytes
    assert model.quantization is not None
    assert (model.quantization.method, model.quantization.bits) == ("compressed-tensors", bits)
    assert model.quantization.group_sizes == (group,)
    assert not model.quantization.made_by_fqconsole


@pytest.mark.parametrize(("bits", "group"), [(4, 32), (3, 32), (8, None)])
def test_without_their_shape_tensors_packed_matrices_are_counted_from_words_and_groups(tmp_path, bits, group):
    folder = packed_folder(tmp_path / "q", bits, group)
    shapes, _ = packed(bits, group)
    (folder / "model.safetensors").write_bytes(safetensors_bytes(shapes))  # zeros: no shape at all
    assert described(folder).parameters == described(write_model(tmp_path / "m")).parameters


def test_our_own_checkpoint_says_what_it_was_made_from(tmp_path):
    source = {"model": "demo", "license": "mit", "suggested_prompt": "Once"}
    manifest = json.dumps({"source": source, "plan": {"bits": 4}})
    model = described(packed_folder(tmp_path / "q", 4, 32, manifest=manifest))
    assert model.quantization is not None
    assert model.quantization.made_by_fqconsole
    assert model.quantization.source_model == "demo"
    assert (model.license, model.suggested_prompt) == ("mit", "Once")


@pytest.mark.parametrize("manifest", ["{", "[]", '{"source": 3}', ""])
def test_a_broken_manifest_does_not_hide_the_model(tmp_path, manifest):
    model = described(packed_folder(tmp_path / "q", 4, 32, manifest=manifest))
    assert model.quantization is not None
    assert model.quantization.source_model is None


@pytest.mark.parametrize(
    ("stored", "method", "bits", "groups"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq", 4, (128,)),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, "gptq", 4, (None,)),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, "awq", 4, (64,)),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", 4, ()),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 8, ()),
        ({"quant_method": "mxfp4"}, "mxfp4", 4, ()),
        ({"quant_method": "novel"}, "novel", 0, ()),
        ({}, "unknown", 0, ()),
    ],
)
def test_other_methods_are_named(tmp_path, stored, method, bits, groups):
    model = described(write_model(tmp_path / "m", {**LLAMA, "quantization_config": stored}))
    found = model.quantization
    assert found is not None
    assert (found.method, found.bits, found.group_sizes, found.made_by_fqconsole) == (
        method,
        bits,
        groups,
        False,
    )


def test_gptq_words_are_counted_unpacked(tmp_path):
    config = {**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 64}}
    shapes = {"model.embed_tokens.weight": ("BF16", (96, 64))}
    stem = "model.layers.0.self_attn.q_proj."
    shapes |= {
        stem + "qweight": ("I32", (8, 64)),  # [K/8, N]
        stem + "qzeros": ("I32", (1, 8)),
        stem + "scales": ("F16", (1, 64)),
        stem + "g_idx": ("I32", (64,)),
    }
    assert described(write_model(tmp_path / "m", config, shapes)).parameters == 96 * 64 + 64 * 64
