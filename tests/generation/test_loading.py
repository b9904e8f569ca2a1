"""What is loaded is what was stored, and nothing is ever made up."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, conversion_mapping

from fqconsole.errors import OperatorError, UsageError
from fqconsole.generation.loading import load_model
from fqconsole.generation.modules import PackedExperts, PackedLinear, PackedRows
from fqconsole.generation.session import open_session
from fqconsole.models import describe_folder
from quantizer.engine import analyse, quantize
from quantizer.reader import open_checkpoint
from quantizer.watch import SilentWatch
from tests.generation.architectures import save_architecture
from tests.generation.tiny_models import (
    VOCAB,
    edit_tensors,
    save_llama,
    write_tokenizer,
)

CPU = torch.device("cpu")
NAMES = ["llama", "qwen3_moe", "opt"]
# They differ in names, computed buffers, fused experts, float32 islands.
FAMILIES = [
    "mistral", "qwen2", "gemma2", "gemma3_text", "phi3", "gpt2", "gpt_neox", "bloom", "mixtral", "olmoe",
    "deepseek_v3", "gpt_oss", "falcon_h1",
]  # fmt: skip
IDS = torch.randint(3, VOCAB, (2, 24), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", NAMES)
def test_packed_logits_are_those_of_the_same_values_in_16_bits(tiny, name):
    _, packed, plain = tiny(name)
    reference = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.bfloat16).eval()
    with torch.inference_mode():
        expected = reference(IDS).logits.float()
    with open_session(packed, device="cpu") as session:
        found = session.logits(IDS)
    assert found.dtype == torch.float32
    assert found.shape == (2, 24, VOCAB)
    # bf16 keeps 8 bits: the two orders of summation may part by a few units of the last place
    assert (found - expected).abs().max() < 2e-2 * expected.abs().max()


@pytest.mark.parametrize(("name", "bits"), [("llama", 4), ("qwen3_moe", 3), ("opt", 8)])
@pytest.mark.parametrize("granularity", ["adaptive", "matrix"])
def test_what_the_quantizer_writes_is_what_runs(tiny, tmp_path, name, bits, granularity):
    source, _, _ = tiny(name)
    description = describe_folder(source, id="tiny", source="folder")
    plan = analyse(description, bits=bits, granularity=granularity, device="cpu", watch=SilentWatch())
    quantize(description, plan, tmp_path / "out", device="cpu")
    with open_checkpoint(tmp_path / "out") as checkpoint:
        values = dict(checkpoint.dequantized())
    copy = shutil.copytree(source, tmp_path / "copy")
    edit_tensors(copy, lambda tensors: tensors.update(values))
    reference = load_model(copy, CPU).model
    with torch.inference_mode():
        expected = reference(IDS).logits.float()
    with open_session(tmp_path / "out", device="cpu") as session:
        assert session.precision == f"int{bits}"
        found = session.logits(IDS)
    assert (found - expected).abs().max() < 2e-2 * expected.abs().max()


def test_a_packed_linear_has_its_16_bit_weight_only_when_the_model_asks_for_it(tiny, monkeypatch):
    monkeypatch.setattr("fqconsole.generation.modules.IDENTITY_ROWS", 48)  # several blocks of columns
    _, packed, plain = tiny("llama")
    projection = load_model(packed, CPU).model.model.layers[0].mlp.down_proj
    assert projection._weight is None
    expected = load_model(plain, CPU).model.model.layers[0].mlp.down_proj.weight
    assert projection.weight.dtype == expected.dtype
    assert torch.equal(projection.weight, expected)
    assert projection.weight is projection.weight


@pytest.mark.parametrize("name", NAMES)
def test_every_quantized_matrix_stays_packed(tiny, name):
    _, packed, _ = tiny(name)
    loaded = load_model(packed, CPU)
    linears = [m for m in loaded.model.modules() if isinstance(m, PackedLinear)]
    experts = [m for m in loaded.model.modules() if isinstance(m, PackedExperts)]
    stored = sum(1 for f in (packed,) for n in _names(f) if n.endswith(".weight_packed"))
    rows = [m for m in loaded.model.modules() if isinstance(m, PackedRows)]
    alone = [m for m in linears if not any(m is part.whole for part in rows)]
    assert len(alone) + len(rows) + 3 * 4 * len(experts) == stored
    assert len(linears) - len(alone) == (4 if name == "llama" else 3 if name == "qwen3_moe" else 2)  # joined
    kept = [n for n, p in loaded.model.named_parameters() if p.dim() > 1]
    assert not [n for n in kept if "proj" in n or "fc" in n]
    assert len(experts) == (1 if name == "qwen3_moe" else 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("as_stored")
def test_16_bit_loading_equals_transformers(tiny, name):
    source, _, _ = tiny(name)
    reference = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).eval()
    loaded = load_model(source, CPU)
    with torch.inference_mode():
        assert torch.equal(loaded.model(IDS).logits, reference(IDS).logits)
    assert loaded.precision == "bf16"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("as_stored")
def test_16_bit_loading_equals_transformers_for_many_families(tmp_path, family):
    save_architecture(family, tmp_path, torch.bfloat16)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    loaded = load_model(tmp_path, CPU)
    with torch.inference_mode():
        logits, wanted = loaded.model(IDS).logits, reference(IDS).logits
    # Without instructions for bf16 torch adds in an order that follows how weights lie (GPT-2's are turned).
    exact = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    torch.testing.assert_close(logits, wanted, rtol=0, atol=0 if exact else 0.02)
    expected = dict(reference.named_buffers())
    for name, buffer in loaded.model.named_buffers():
        assert torch.equal(buffer, expected[name]), name


@pytest.mark.usefixtures("as_stored")
def test_the_bytes_held_are_those_of_the_kept_tensors_and_of_the_prepared_matrices(tiny):
    _, packed, _ = tiny("llama")
    told = []
    loaded = load_model(packed, CPU, lambda done, total: told.append((done, total)))
    tensors = {n: t.nbytes for n, t in _tensors(packed).items() if not n.endswith(".weight_shape")}
    kept = sum(size for name, size in tensors.items() if "_proj." not in name)
    prepared = sum(m.matrix.bytes for m in loaded.model.modules() if isinstance(m, PackedLinear))
    assert loaded.weights_bytes == kept + prepared  # rotary frequencies are computed, not stored
    assert told[-1] == (sum(tensors.values()), sum(tensors.values()))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_tied_head_is_held_once(tmp_path):
    save_llama(tmp_path, tied=True)
    loaded = load_model(tmp_path, CPU)
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight


def test_a_missing_tensor_is_named(packed_copy):
    edit_tensors(packed_copy, lambda tensors: tensors.pop("model.layers.1.input_layernorm.weight"))
    with pytest.raises(OperatorError, match=r"model\.layers\.1\.input_layernorm\.weight"):
        load_model(packed_copy, CPU)


def test_missing_codes_are_named(packed_copy):
    def change(tensors):
        for part in ("packed", "scale", "shape"):
            del tensors[f"model.layers.0.mlp.up_proj.weight_{part}"]

    edit_tensors(packed_copy, change)
    with pytest.raises(OperatorError, match=r"model\.layers\.0\.mlp\.up_proj"):
        load_model(packed_copy, CPU)


def test_missing_scales_are_named(packed_copy):
    edit_tensors(packed_copy, lambda tensors: tensors.pop("model.layers.0.mlp.up_proj.weight_scale"))
    with pytest.raises(OperatorError, match=r"a part of model\.layers\.0\.mlp\.up_proj"):
        load_model(packed_copy, CPU)


def test_an_expert_that_is_missing_is_an_error(tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny("qwen3_moe")[1], copy)

    def change(tensors):
        for part in ("packed", "scale", "shape"):
            del tensors[f"model.layers.1.mlp.experts.3.up_proj.weight_{part}"]

    edit_tensors(copy, change)
    with pytest.raises(OperatorError, match="has 4 experts, but 3 are stored"):
        load_model(copy, CPU)


def test_experts_that_transformers_has_no_names_for_find_their_place(tiny, monkeypatch):
    """A model whose checkpoints hold the experts fused: its packed form names them one by one."""
    _, packed, plain = tiny("qwen3_moe")
    expected = load_model(plain, CPU)
    monkeypatch.setattr(conversion_mapping, "get_model_conversion_mapping", lambda model: [])
    found = load_model(packed, CPU)
    with torch.inference_mode():
        logits = expected.model(IDS).logits
        far = (found.model(IDS).logits - logits).abs().amax(-1) >= 2e-2 * logits.abs().max()
    # Where the gates of two experts are equal to rounding, a token may take another one.
    assert far.float().mean() <= 0.1


def test_a_tensor_of_another_shape_is_named(packed_copy):
    name = "model.norm.weight"
    edit_tensors(packed_copy, lambda tensors: tensors.update({name: torch.ones(32, dtype=torch.bfloat16)}))
    with pytest.raises(OperatorError, match=r"model\.norm\.weight has shape \[32\]"):
        load_model(packed_copy, CPU)


def test_codes_of_another_shape_are_named(packed_copy):
    name = "model.layers.0.self_attn.q_proj.weight_packed"
    edit_tensors(packed_copy, lambda tensors: tensors.update({name: tensors[name][:, :3].contiguous()}))
    with pytest.raises(OperatorError, match=r"q_proj"):
        load_model(packed_copy, CPU)


def test_a_matrix_without_a_place_is_named(packed_copy):
    def change(tensors):
        for part in ("packed", "scale", "shape"):
            old = f"model.layers.0.mlp.up_proj.weight_{part}"
            tensors[old.replace("layers.0", "layers.7")] = tensors[old].clone()

    edit_tensors(packed_copy, change)
    with pytest.raises(OperatorError, match=r"model\.layers\.7\.mlp\.up_proj"):
        load_model(packed_copy, CPU)


def test_another_quantization_is_refused(packed_copy):
    other = {"quant_method": "gptq", "format": None}
    _edit_config(packed_copy, lambda config: config["quantization_config"].update(other))
    with pytest.raises(OperatorError, match="quantized as gptq"):
        load_model(packed_copy, CPU)


def test_zero_points_are_refused(packed_copy):
    def change(config):
        config["quantization_config"]["config_groups"]["group_0"]["weights"]["symmetric"] = False

    _edit_config(packed_copy, change)
    with pytest.raises(OperatorError, match="not symmetric"):
        load_model(packed_copy, CPU)


def test_an_unknown_architecture_is_refused(packed_copy):
    _edit_config(packed_copy, lambda config: config.update(model_type="nonesuch", architectures=["Nonesuch"]))
    with pytest.raises(OperatorError, match="nonesuch"):
        load_model(packed_copy, CPU)


def test_a_truncated_shard_is_named(packed_copy):
    shard = packed_copy / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(OperatorError, match=r"model\.safetensors"):
        load_model(packed_copy, CPU)


def test_a_missing_shard_is_named(packed_copy):
    weights = dict.fromkeys(_names(packed_copy), "model-00001-of-00002.safetensors")
    (packed_copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    with pytest.raises(OperatorError, match="model-00001-of-00002"):
        load_model(packed_copy, CPU)


def test_pickle_files_are_refused(packed_copy):
    (packed_copy / "model.safetensors").unlink()
    (packed_copy / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(OperatorError, match="pickle"):
        load_model(packed_copy, CPU)


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(OperatorError, match=r"config\.json can't be read"):
        load_model(tmp_path, CPU)


def test_a_missing_tokenizer_is_said(tmp_path):
    save_llama(tmp_path)
    with pytest.raises(OperatorError, match="tokenizer"):
        open_session(tmp_path)


@pytest.mark.parametrize("word", ["cuda:99", "tpu", "cuda"])
def test_a_device_that_is_not_there_is_a_usage_error(tmp_path, word):
    if word == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    save_llama(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(UsageError):
        open_session(tmp_path, device=word)


def _tensors(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def _names(folder):
    return list(_tensors(folder))


def _edit_config(folder, change):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))
