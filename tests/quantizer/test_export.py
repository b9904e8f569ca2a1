"""Checkpoints in other formats, read back by programs and loops that are not ours."""

import json

import numpy as np
import pytest
import torch

from fqconsole.errors import OperatorError, UsageError
from quantizer.engine import analyse, quantize
from quantizer.export import FORMATS, export
from quantizer.reader import open_checkpoint
from tests.generation import tiny_models
from tests.quantizer.synthetic_models import (
    describe,
    fused_moe_tensors,
    moe_config,
    save_model,
    weights_of,
)

IDS = torch.arange(2 * 12).reshape(2, 12) * 5 % 250 + 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """`checkpoint("llama", 4, 32)` → a folder that the quantizer wrote."""
    base = tmp_path_factory.mktemp("export")

    def make(name, bits, group_size=32):
        source = base / name
        if not source.exists():
            getattr(tiny_models, f"save_{name}")(source)
            tiny_models.write_tokenizer(source)
        out = base / f"{name}-{bits}-{group_size}"
        if not out.exists():
            description = describe(source)
            plan = analyse(description, bits=bits, granularity="fixed", group_size=group_size, device="cpu")
            quantize(description, plan, out, device="cpu")
        return out

    return make


def dequantized(folder):
    with open_checkpoint(folder) as opened:
        return {name: tensor.float() for name, tensor in opened.dequantized(torch.float32)}


def logits(folder, **options):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    with torch.no_grad():
        return model(IDS).logits.float()


@pytest.mark.parametrize(("name", "bits"), [("llama", 4), ("qwen3_moe", 3)])
def test_16bit_is_what_transformers_makes_of_the_checkpoint(checkpoint, tmp_path, name, bits):
    folder = checkpoint(name, bits)
    made = export(folder, tmp_path / "dense", to="16bit")
    assert not made.exact
    assert made.bytes > 0
    assert "quantization_config" not in json.loads((made.path / "config.json").read_text())
    assert (made.path / "tokenizer.json").is_file()
    assert torch.allclose(logits(made.path), logits(folder), atol=1e-3)


def test_16bit_brings_back_experts_as_they_lay_in_the_source(tmp_path):
    tensors = fused_moe_tensors()
    save_model(tmp_path / "source", tensors, moe_config())
    description = describe(tmp_path / "source")
    quantize(
        description,
        analyse(description, bits=8, granularity="fixed", group_size=32, device="cpu"),
        tmp_path / "q",
        device="cpu",
    )
    made = weights_of(export(tmp_path / "q", tmp_path / "dense", to="16bit").path)
    assert {name: tensor.shape for name, tensor in made.items()} == {
        name: tensor.shape for name, tensor in tensors.items()
    }
    for name, tensor in tensors.items():
        if "experts" in name:
            assert (made[name].float() - tensor.float()).abs().max() < 2e-3


def unpacked_gptq(tensors, module, bits):
    """code·scale by an explicit loop over single bits, as the layout's description says."""
    words = tensors[f"{module}.qweight"].numpy().astype(np.uint32)
    scales = tensors[f"{module}.scales"].float().numpy()
    zeros = tensors[f"{module}.qzeros"].numpy().astype(np.uint32)
    groups = tensors[f"{module}.g_idx"].numpy()
    n, k = words.shape[1], len(groups)
    weight = np.empty((n, k), np.float32)
    for i in range(k):
        code = sum(((words[(i * bits + b) // 32] >> ((i * bits + b) % 32)) & 1) << b for b in range(bits))
        for row in range(n):
            place = row * bits
            zero = sum(
                ((int(zeros[groups[i], (place + b) // 32]) >> ((place + b) % 32)) & 1) << b
                for b in range(bits)
            )
            weight[row, i] = (int(code[row]) - (zero + 1)) * scales[groups[i], row]
    return torch.from_numpy(weight)


@pytest.mark.parametrize(("bits", "group_size"), [(8, None), (4, 32), (3, 64)])
def test_gptq_holds_the_weights_exactly(checkpoint, tmp_path, bits, group_size):
    folder = checkpoint("llama", bits, group_size)
    made = export(folder, tmp_path / "gptq", to="gptq")
    assert made.exact
    stated = json.loads((made.path / "config.json").read_text())["quantization_config"]
    assert (stated["bits"], stated["group_size"]) == (bits, -1 if group_size is None else group_size)
    tensors, expected = weights_of(made.path), dequantized(folder)
    for module in ("model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"):
        assert torch.equal(unpacked_gptq(tensors, module, bits), expected[f"{module}.weight"])
    assert not [name for name in tensors if name.endswith("weight_packed")]


def test_gptq_brings_mixed_schemes_to_the_widest_and_the_finest(checkpoint, tmp_path):
    description = describe(checkpoint("llama", 8, None).parent / "llama")
    plan = analyse(description, bits=3, granularity="fixed", group_size=64, device="cpu")
    import msgspec

    from quantizer.scheme import Scheme

    mixed = tuple(
        msgspec.structs.replace(matrix, scheme=Scheme(4, 32)) if matrix.layer else matrix
        for matrix in plan.matrices
    )
    quantize(description, msgspec.structs.replace(plan, matrices=mixed), tmp_path / "q", device="cpu")
    made = export(tmp_path / "q", tmp_path / "gptq", to="gptq")
    assert made.exact
    assert len(made.notes) == 2
    expected = dequantized(tmp_path / "q")["model.layers.0.self_attn.k_proj.weight"]
    found = unpacked_gptq(weights_of(made.path), "model.layers.0.self_attn.k_proj", 4)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("name", "bits", "group_size"), [("llama", 8, 32), ("llama", 4, 64), ("llama", 3, 32), ("moe", 4, 32)]
)
def test_gguf_holds_the_weights_exactly(checkpoint, tmp_path, name, bits, group_size):
    gguf = pytest.importorskip("gguf", reason="the package gguf (fqconsole[gguf]) is not installed")
    folder = checkpoint(name, bits, group_size) if name != "moe" else all_moe(tmp_path, bits)
    made = export(folder, tmp_path / "model.gguf", to="gguf")
    assert made.exact
    assert made.bytes == made.path.stat().st_size
    read = {tensor.name: tensor for tensor in gguf.GGUFReader(made.path).tensors}
    expected = dequantized(folder)
    place = "model.layers.1."
    if name == "moe":
        stack = torch.stack([expected[f"{place}mlp.experts.{e}.up_proj.weight"] for e in range(4)])
        pairs = {"blk.1.ffn_up_exps.weight": stack}
    else:
        rotated = expected[f"{place}self_attn.k_proj.weight"].reshape(2, 2, 8, 64).transpose(1, 2)
        pairs = {
            "blk.1.ffn_down.weight": expected[f"{place}mlp.down_proj.weight"],
            "blk.1.attn_k.weight": rotated.reshape(32, 64),
        }
    for word, weight in pairs.items():
        stored = read[word]
        assert stored.tensor_type.name == ("Q8_0" if bits == 8 else "Q4_0")
        values = gguf.quants.dequantize(stored.data, stored.tensor_type)
        assert torch.equal(torch.from_numpy(values.copy()), weight)
    assert read["token_embd.weight"].tensor_type.name == "BF16"
    assert read["blk.0.attn_norm.weight"].tensor_type.name == "F32"


def all_moe(tmp_path, bits):
    """Experts in every layer, as GGUF wants it."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(
        vocab_size=384, hidden_size=64, intermediate_size=128, moe_intermediate_size=64, num_experts=4,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_experts_per_tok=2,
        max_position_embeddings=128, tie_word_embeddings=False, eos_token_id=0, bos_token_id=1,
    )  # fmt: skip
    Qwen3MoeForCausalLM(config).bfloat16().save_pretrained(tmp_path / "moe")
    tiny_models.write_tokenizer(tmp_path / "moe")
    description = describe(tmp_path / "moe")
    plan = analyse(description, bits=bits, granularity="fixed", group_size=32, device="cpu")
    quantize(description, plan, tmp_path / "moe-q", device="cpu")
    return tmp_path / "moe-q"


def test_llama_3s_rotary_factors_are_those_of_transformers():
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    from quantizer.export.gguf_words import rope_factors

    scaled = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }  # fmt: skip
    config = LlamaConfig(hidden_size=512, num_attention_heads=4, rope_parameters=scaled)
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 500000.0 ** -(torch.arange(0, 128, 2) / 128)
    assert torch.allclose(plain / rope_factors(config.to_dict()), expected, rtol=1e-5)
    assert rope_factors(LlamaConfig().to_dict()) is None


def test_gguf_says_what_it_can_not_hold(checkpoint, tmp_path):
    pytest.importorskip("gguf", reason="the package gguf (fqconsole[gguf]) is not installed")
    with pytest.raises(OperatorError, match="opt model can't"):
        export(checkpoint("opt", 4), tmp_path / "a.gguf", to="gguf")
    with pytest.raises(OperatorError, match="experts in every layer"):
        export(checkpoint("qwen3_moe", 4), tmp_path / "b.gguf", to="gguf")
    with pytest.raises(OperatorError, match="groups of 32"):
        export(checkpoint("llama", 4, 16), tmp_path / "c.gguf", to="gguf")
    assert not list(tmp_path.iterdir())


def test_what_a_format_can_not_hold_exactly_has_to_be_asked_for(checkpoint, tmp_path):
    folder = tmp_path / "tiny-scales"
    tiny_models.save_llama(tmp_path / "source")
    tiny_models.quantize(tmp_path / "source", folder, tmp_path / "plain", bits=4, group_size=32)
    name = "model.layers.0.mlp.up_proj.weight_scale"
    tiny_models.edit_tensors(folder, lambda tensors: tensors[name].mul_(2.0**-20))
    with pytest.raises(UsageError, match=r"exactly: .*mlp\.up_proj"):
        export(folder, tmp_path / "gptq", to="gptq")
    assert not (tmp_path / "gptq").exists()
    made = export(folder, tmp_path / "gptq", to="gptq", inexact=True)
    assert not made.exact
    assert "float16" in made.notes[0]


def test_a_place_that_is_taken_and_an_unknown_format_are_refused(checkpoint, tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="there already"):
        export(checkpoint("llama", 4), tmp_path / "taken", to="gptq")
    with pytest.raises(UsageError, match="16bit, gptq, gguf"):
        export(checkpoint("llama", 4), tmp_path / "new", to="onnx")
    assert set(FORMATS) == {"16bit", "gptq", "gguf"}


def test_an_export_that_is_cancelled_leaves_nothing(checkpoint, tmp_path):
    from quantizer.watch import Cancelled, Gate, SilentWatch

    gate = Gate()
    gate.cancel()
    with pytest.raises(Cancelled):
        export(checkpoint("llama", 4), tmp_path / "gptq", to="gptq", watch=SilentWatch(gate))
    assert not list(tmp_path.iterdir())
