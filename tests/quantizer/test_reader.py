"""Opening checkpoints: ours, another program's, and damaged ones."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from fqconsole.errors import OperatorError
from kernels.packed_matrix import PackedMatrix
from quantizer.engine import analyse, quantize
from quantizer.reader import open_checkpoint
from tests.quantizer.synthetic_models import describe, fused_moe_tensors, moe_config, save_llama, save_model


@pytest.fixture
def checkpoint(tmp_path):
    """A one-file int4 checkpoint that a test may damage."""
    description = save_llama(tmp_path / "m")
    quantize(description, analyse(description, bits=4), tmp_path / "out")
    return tmp_path / "out"


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    (folder / "fqconsole_manifest.json").unlink(missing_ok=True)


def test_matrices_and_kept_tensors_are_all_there(checkpoint):
    with open_checkpoint(checkpoint) as opened:
        assert len(opened.matrices) == 14
        assert set(opened.kept) == {
            t for t in load_file(checkpoint / "model.safetensors") if ".weight_" not in t
        }
        matrix = opened.matrices["model.layers.1.mlp.down_proj"]
        packed = matrix.load("cpu")
        assert isinstance(packed, PackedMatrix)
        assert (packed.bits, packed.group_size, packed.k) == (4, 64, 128)
        assert packed.bytes == matrix.bytes
        assert opened.kept["model.norm.weight"].load().dtype == torch.bfloat16


def test_a_stack_is_loaded_whole_or_expert_by_expert(tmp_path):
    save_model(tmp_path / "moe", fused_moe_tensors(), moe_config())
    description = describe(tmp_path / "moe")
    quantize(description, analyse(description, bits=3), tmp_path / "out")
    with open_checkpoint(tmp_path / "out") as opened:
        stack = opened.matrices["model.layers.0.mlp.experts.up_proj"]
        assert stack.shape == (3, 32, 64)
        whole = stack.load().dequantize(torch.float32)
        assert torch.equal(whole[2], stack.load_expert(2).dequantize(torch.float32))


def test_it_opens_without_our_manifest(checkpoint):
    (checkpoint / "fqconsole_manifest.json").unlink()
    with open_checkpoint(checkpoint) as opened:
        assert opened.manifest is None
        assert len(opened.matrices) == 14


def test_a_checkpoint_that_compressed_tensors_made_opens(tmp_path):
    from compressed_tensors.compressors.pack_quantized import pack_to_int32

    codes = torch.randint(-4, 4, (6, 40), dtype=torch.int8)
    scales = torch.rand(6, 5).bfloat16()
    folder = tmp_path / "other"
    folder.mkdir()
    tensors = {
        "model.layers.0.fc.weight_packed": pack_to_int32(codes, 3),
        "model.layers.0.fc.weight_scale": scales,
        "model.layers.0.fc.weight_shape": torch.tensor([6, 40]),
    }
    save_file(tensors, folder / "model.safetensors")
    weights = {"num_bits": 3, "type": "int", "symmetric": True, "strategy": "group", "group_size": 8}
    config = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    with open_checkpoint(folder) as opened:
        (name, found), *_ = opened.dequantized(torch.float32)
    assert name == "model.layers.0.fc.weight"
    assert torch.equal(found, codes * scales.float().repeat_interleave(8, dim=1))


UP = "model.layers.0.mlp.up_proj"


@pytest.mark.parametrize(
    ("part", "replacement", "words"),
    [
        ("weight_scale", None, f"lacks a part of {UP}"),
        ("weight_packed", torch.zeros(128, 9, dtype=torch.int32), "unknown packing"),
        ("weight_scale", torch.zeros(128, 3, dtype=torch.bfloat16), "don't divide its rows"),
        ("weight_zero_point", torch.zeros(1), "zero points"),
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(checkpoint, part, replacement, words):
    def change(tensors):
        tensors.pop(f"{UP}.{part}", None)
        if replacement is not None:
            tensors[f"{UP}.{part}"] = replacement

    rewrite(checkpoint, change)
    with pytest.raises(OperatorError, match=words):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda q: q.update(format="float-quantized"), "is quantized as compressed-tensors float-quantized"),
        (lambda q: q.update(quant_method="gptq"), "is quantized as gptq"),
        (
            lambda q: q["config_groups"]["group_0"]["weights"].update(symmetric=False),
            "not symmetric integers",
        ),
        (lambda q: q["config_groups"]["group_0"].update(input_activations={"num_bits": 8}), "not symmetric"),
    ],
)
def test_other_ways_to_quantize_are_refused_by_name(checkpoint, change, words):
    config = json.loads((checkpoint / "config.json").read_text())
    change(config["quantization_config"])
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(OperatorError, match=words):
        open_checkpoint(checkpoint)


def test_a_16_bit_model_is_no_checkpoint(tmp_path):
    save_llama(tmp_path / "m")
    with pytest.raises(OperatorError, match="is not quantized"):
        open_checkpoint(tmp_path / "m")


def test_a_truncated_shard_is_named(checkpoint):
    file = checkpoint / "model.safetensors"
    os.truncate(file, file.stat().st_size - 10)
    with pytest.raises(OperatorError, match=r"model\.safetensors is truncated"):
        open_checkpoint(checkpoint)


def test_a_manifest_that_tells_of_other_matrices_is_noticed(checkpoint):
    path = checkpoint / "fqconsole_manifest.json"
    manifest = json.loads(path.read_text())
    manifest["plan"]["matrices"][0]["scheme"]["group_size"] = 32
    path.write_text(json.dumps(manifest))
    with pytest.raises(OperatorError, match="as its manifest says"):
        open_checkpoint(checkpoint)
    path.write_text("{")
    with pytest.raises(OperatorError, match=r"fqconsole_manifest\.json is damaged"):
        open_checkpoint(checkpoint)


def test_a_folder_without_config_is_a_sentence(tmp_path):
    with pytest.raises(OperatorError, match=r"config\.json can't be read"):
        open_checkpoint(tmp_path)
