"""Rescaled channels leave what a model computes as it is: every known structure against transformers."""

import random
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from quantizer import base_plan
from quantizer.absorption import STRUCTURES, find_channels
from quantizer.channels import OCTAVE, Channels
from tests.quantizer.synthetic_models import describe, save_llama, weights_of

SMALL = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 128, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
}  # fmt: skip
EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48,
}  # fmt: skip
MORE = {
    "qwen2_moe": EXPERTS, "qwen3_moe": EXPERTS, "mixtral": EXPERTS, "olmoe": EXPERTS,
    "deepseek_v3": EXPERTS
    | {
        "q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 8, "head_dim": 8,
        "qk_nope_head_dim": 16, "v_head_dim": 16,
        "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_key_value_heads": 4,
    },
    "glm": {"partial_rotary_factor": 0.5},
    "granite": {"attention_bias": True, "mlp_bias": True},
}  # fmt: skip


def save_random(folder, model_type):
    """A tiny model in float32 whose every number is random, norms and biases too."""
    torch.manual_seed(3)
    config = AutoConfig.for_model(model_type, **(SMALL | MORE.get(model_type, {})))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.rand_like(parameter) * 0.5 + 0.1)
    model.save_pretrained(folder)
    return describe(folder)


def rescaled(description, plan):
    """Every tensor of the source as a checkpoint of `plan` would hold it if nothing were rounded."""
    channels = Channels(Path(description.path), description, plan)
    tensors = weights_of(Path(description.path))
    for matrix in plan.matrices:
        for name in matrix.tensors:
            tensors[name] = channels.columns(matrix.name).prepared(tensors[name], 0)
    for kept in plan.kept:
        data = tensors[kept.name].contiguous().view(-1).view(torch.uint8).numpy()
        new = torch.from_numpy(channels.rewrite(kept.name, data, 0).copy())
        tensors[kept.name] = new.view(tensors[kept.name].dtype).view(tensors[kept.name].shape)
    return tensors


def balanced_at_random(description, plan):
    shapes = {matrix.name: matrix.shape for matrix in plan.matrices}
    shapes |= {tensor.name: tensor.shape for tensor in plan.kept}
    chosen = []
    for held in find_channels(description, plan.matrices, plan.kept):
        pick = random.Random(held.producer)
        step = OCTAVE if held.kept_readers else 1
        codes = [pick.randrange(-24, 25) // step * step % 256 for _ in range(shapes[held.producer][0])]
        magnitudes = bytes(len(codes)) if held.of_rows else b""
        chosen.append(msgspec.structs.replace(held, factors=bytes(codes), magnitudes=magnitudes))
    return msgspec.structs.replace(plan, channels=tuple(chosen))


@pytest.mark.parametrize("model_type", sorted(STRUCTURES))
def test_rescaled_channels_change_no_logits(tmp_path, model_type):
    description = save_random(tmp_path / "m", model_type)
    assert description.model_type == model_type
    plan = balanced_at_random(description, base_plan(description, 4, "fixed", None))
    assert len(plan.channels) >= 2 * description.layers, "a structure that is listed is found in every layer"
    tokens = torch.arange(1, 25).view(1, -1)
    with torch.no_grad():
        before = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)(tokens).logits
        tensors = rescaled(description, plan)
        for file in (tmp_path / "m").glob("*.safetensors"):
            file.unlink()
        save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
        after = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)(tokens).logits
    assert float((after - before).abs().max()) < 2e-5 * float(before.abs().max())


def test_an_unknown_architecture_and_an_unknown_weight_are_left_alone(tmp_path):
    description = save_llama(tmp_path / "a")
    plan = base_plan(description, 4)
    assert len(find_channels(description, plan.matrices, plan.kept)) == 8
    strange = msgspec.structs.replace(description, model_type="strange")
    assert find_channels(strange, plan.matrices, plan.kept) == ()

    def add(tensors):
        tensors["model.layers.1.mlp.side_proj.weight"] = torch.ones(8, 64).bfloat16()

    more = save_llama(tmp_path / "b", edit=add)
    plan = base_plan(more, 4)
    found = find_channels(more, plan.matrices, plan.kept)
    assert {held.producer.split(".")[2] for held in found} == {"0"}
