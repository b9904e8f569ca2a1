"""What config.json says of a plan, read as compressed-tensors reads it."""

import json
import re
from pathlib import Path

import msgspec
import pytest
import torch
from compressed_tensors.quantization import QuantizationConfig

from quantizer import base_plan
from quantizer.config import (
    GUARD,
    companion_files,
    engine_refusals,
    ignored_modules,
    index_bytes,
    quantization_config,
    transformers_refusals,
)
from quantizer.parts import plan_parts
from quantizer.scheme import Scheme
from tests.quantizer.synthetic_models import describe, fused_moe_tensors, moe_config, save_model


@pytest.fixture
def moe(tmp_path):
    save_model(tmp_path / "moe", fused_moe_tensors(), moe_config())
    return describe(tmp_path / "moe")


def with_group(plan, word, group):
    matrices = tuple(
        msgspec.structs.replace(m, scheme=Scheme(plan.bits, group)) if word in m.name else m
        for m in plan.matrices
    )
    return msgspec.structs.replace(plan, matrices=matrices)


def matching(config, name):
    """(bits, group) of the first group with a target for this module, as engines look it up."""
    for group in config["config_groups"].values():
        for target in group["targets"]:
            if target == name or (target.startswith("re:") and re.match(target[3:], name)):
                return group["weights"]["num_bits"], group["weights"]["group_size"]
    return None


def test_every_matrix_finds_its_own_scheme_and_nothing_else_does(moe):
    plan = with_group(base_plan(moe, 4, "fixed", 32), "layers.1.mlp.shared_expert.", None)
    config = quantization_config(plan)
    assert matching(config, "model.layers.0.mlp.experts.2.down_proj") == (4, 32)
    assert matching(config, "model.layers.1.mlp.experts.0.gate_proj") == (4, 32)
    assert matching(config, "model.layers.0.mlp.shared_expert.gate_proj") == (4, 32)
    assert matching(config, "model.layers.1.mlp.shared_expert.gate_proj") == (4, None)
    assert matching(config, "model.layers.1.mlp.gate") is None
    assert matching(config, "model.layers.11.mlp.experts.0.gate_proj") is None
    assert len(config["config_groups"]) == 2


def test_the_experts_of_a_layer_are_one_pattern(moe):
    config = quantization_config(base_plan(moe, 4, "fixed", 32))
    patterns = [t for g in config["config_groups"].values() for t in g["targets"] if t.startswith("re:")]
    assert len(patterns) == 2


def test_compressed_tensors_accepts_it(moe):
    plan = with_group(base_plan(moe, 3, "fixed", 16), "layers.1", None)
    parsed = QuantizationConfig.model_validate(quantization_config(plan))
    assert {group.weights.num_bits for group in parsed.config_groups.values()} == {3, GUARD.bits}


def test_what_transformers_can_not_open_is_said(moe, tmp_path):
    assert transformers_refusals(base_plan(moe, 4)) == []
    layer, block = "transformer.h.0.attn.c_attn", "model.layers.0.block_sparse_moe"
    gpt2 = {f"{layer}.weight": torch.zeros(64, 192), f"{layer}.bias": torch.zeros(192)}
    granite = {
        f"{block}.input_linear.weight": torch.zeros(2, 96, 64),
        f"{block}.output_linear.weight": torch.zeros(2, 64, 48),
    }
    for name, tensors, said in (("gpt2", gpt2, layer), ("granite", granite, "experts of 1 layers lie fused")):
        save_model(tmp_path / name, tensors, moe_config())
        (found,) = transformers_refusals(base_plan(describe(tmp_path / name), 4))
        assert said in found


def test_kept_linears_are_named_and_embeddings_not(moe, sharded_llama):
    ignored = ignored_modules(base_plan(moe, 4))
    assert ignored[0] == "lm_head"
    assert {"model.layers.0.mlp.gate", "model.layers.1.mlp.shared_expert_gate"} <= set(ignored)
    assert "model.embed_tokens" not in ignored
    assert ignored_modules(base_plan(sharded_llama, 4)) == ["lm_head"]


def test_companions_are_text_files_and_never_code_or_weights(moe):
    names = {path.name for path in companion_files(Path(moe.path))}
    assert names == {"tokenizer.json", "generation_config.json", "LICENSE"}


def test_the_index_names_the_file_of_every_tensor(sharded_llama):
    parts = plan_parts(sharded_llama, base_plan(sharded_llama, 4))
    index = json.loads(index_bytes(parts))
    assert index["metadata"]["total_size"] == sum(part.payload for part in parts)
    for part in parts:
        assert all(index["weight_map"][tensor.name] == part.file for tensor in part.tensors)


def test_only_mode_matrix_can_be_refused_by_engines(sharded_llama):
    plan = base_plan(sharded_llama, 4, "matrix")
    assert engine_refusals(sharded_llama, plan) == []
    refused = engine_refusals(sharded_llama, with_group(plan, "layers.1.self_attn.k_proj", 32))
    assert len(refused) == 1
    assert refused[0].startswith("model.layers.1.self_attn.qkv has groups of ")
    assert {"32", "64"} <= set(refused[0].split())
