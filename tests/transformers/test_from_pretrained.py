"""`AutoModelForCausalLM.from_pretrained` on our checkpoints, packed."""

import shutil
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from fqconsole.errors import OperatorError
from fqconsole.generation import open_session
from tests.generation.tiny_models import edit_tensors, quantize, save_llama, write_tokenizer

IDS = torch.arange(2 * 16).reshape(2, 16) * 5 % 250 + 3
CASES = [("llama", 4), ("qwen3_moe", 3), ("opt", 8)]

pytestmark = pytest.mark.usefixtures("registered")


def loaded(folder, **options):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, **options)


def logits(model):
    with torch.no_grad():
        return model(IDS).logits.float()


def packed_modules(model):
    from fqconsole.transformers.modules import PackedModule

    return [module for module in model.modules() if isinstance(module, PackedModule)]


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_the_weights_stay_packed_and_the_logits_are_our_sessions(checkpoint, name, bits):
    folder = checkpoint(name, bits, torch.float32)
    model = loaded(folder)
    assert packed_modules(model)
    assert not [n for n, _ in model.named_parameters() if n.endswith(("_proj.weight", "fc1.weight"))]
    with open_session(folder, device="cpu") as session:
        expected = session.logits(IDS)
    assert (logits(model) - expected).norm() <= 1e-2 * expected.norm()


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_generate_takes_the_likeliest_tokens(checkpoint, name, bits):
    model = loaded(checkpoint(name, bits))
    made = model.generate(IDS[:1], max_new_tokens=6, min_new_tokens=6, do_sample=False)
    assert made.shape == (1, IDS.shape[1] + 6)
    with torch.no_grad():
        judged = model(made[:, :-1]).logits[0, IDS.shape[1] - 1 :].float()
    judged[:, model.generation_config.eos_token_id] = float("-inf")  # not allowed before the sixth
    chosen = judged.gather(-1, made[0, IDS.shape[1] :, None])[:, 0]
    assert (judged.amax(-1) - chosen).max() <= 0.05  # with a cache and without, bf16 rounds otherwise


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_what_is_saved_is_what_was_loaded(checkpoint, tmp_path, name, bits):
    folder = checkpoint(name, bits)
    model = loaded(folder)
    before = logits(model)
    model.save_pretrained(tmp_path)
    stored, saved = (load_file(place / "model.safetensors") for place in (folder, tmp_path))
    assert {n: (t.dtype, t.shape) for n, t in stored.items()} == {
        n: (t.dtype, t.shape) for n, t in saved.items()
    }
    assert all(torch.equal(stored[n], saved[n]) for n in stored)
    again = loaded(tmp_path)
    assert packed_modules(again)
    assert torch.equal(logits(again), before)


def test_another_dtype_leaves_the_scales_as_they_are_stored(checkpoint):
    model = loaded(checkpoint("llama", 4), dtype=torch.float16)
    assert {p.dtype for n, p in model.named_parameters() if n.endswith("_scale")} == {torch.bfloat16}
    assert model.model.embed_tokens.weight.dtype == torch.float16
    assert (logits(model) - logits(loaded(checkpoint("llama", 4)))).abs().max() < 0.05


def test_moving_a_model_prepares_its_weights_anew(checkpoint):
    model = loaded(checkpoint("llama", 4))
    before = logits(model)
    module = packed_modules(model)[0]
    ready = module._ready[0]
    model.to("cpu")
    assert not module._ready
    assert torch.equal(logits(model), before)
    assert module._ready[0] is not ready


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}, "offloaded"])
def test_a_device_map_places_the_packed_weights(checkpoint, tmp_path, device_map):
    pytest.importorskip("accelerate", reason="accelerate, which device_map needs, is not installed")
    folder = checkpoint("qwen3_moe", 3)
    if device_map == "offloaded":
        places = ("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head")
        device_map = dict.fromkeys(places, "cpu") | {"model.layers.1": "disk"}
    model = loaded(folder, device_map=device_map, offload_folder=tmp_path)
    assert (logits(model) - logits(loaded(folder))).abs().max() < 0.02


@pytest.mark.parametrize("lost", ["model.norm.weight", "model.layers.1.self_attn.k_proj.weight_scale"])
def test_a_missing_tensor_is_an_error_and_no_random_weight(checkpoint, tmp_path, lost):
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint("llama", 4), folder)
    edit_tensors(folder, lambda tensors: tensors.pop(lost))
    with pytest.raises(OperatorError, match=r"model\.norm\.weight|k_proj|another size"):
        loaded(folder)


def test_a_class_with_a_head_of_its_own_is_refused(checkpoint):
    from transformers import AutoModelForSequenceClassification

    with pytest.raises(OperatorError, match=r"score\.weight .*missing"):
        AutoModelForSequenceClassification.from_pretrained(checkpoint("llama", 4))


def test_dequantizing_at_load_is_refused_with_what_to_do(checkpoint):
    from transformers import CompressedTensorsConfig

    with pytest.raises(OperatorError, match="--to 16bit"):
        loaded(checkpoint("llama", 4), quantization_config=CompressedTensorsConfig(dequantize=True))


def test_a_folder_of_another_program_is_handed_on(tmp_path):
    from transformers.quantizers.quantizer_compressed_tensors import CompressedTensorsHfQuantizer

    source, packed, plain = (tmp_path / name for name in ("source", "packed", "plain"))
    write_tokenizer(save_llama(source))
    quantize(source, packed, plain, bits=4, group_size=32)
    model = loaded(packed)
    assert not packed_modules(model)
    assert isinstance(model.hf_quantizer, CompressedTensorsHfQuantizer)
    assert (logits(model) - logits(loaded(plain))).abs().max() < 0.02


def test_compressed_tensors_need_not_be_installed(checkpoint, tmp_path, monkeypatch):
    from fqconsole.transformers import quantizer, registry

    for module in (quantizer, registry):
        monkeypatch.setattr(module, "is_compressed_tensors_available", lambda: False)
    registry.register()
    model = loaded(checkpoint("qwen3_moe", 3))
    assert type(model.config.quantization_config).__name__ == "StoredConfig"
    before = logits(model)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(loaded(tmp_path)), before)


@pytest.fixture
def lanes(monkeypatch):
    """From its call on matrices get a GPU's form, which plain torch multiplies with here."""
    import kernels
    from kernels.epilogue import multiply_with
    from kernels.gpu import TritonMatrix
    from kernels.lane_layout import from_lanes, to_lanes
    from kernels.prepared import DequantizedMatrix
    from kernels.tiles import Gpu

    def dequantized(self):
        return DequantizedMatrix(from_lanes(self.lanes))

    def few(self, x, bias):
        return dequantized(self).multiply(x, bias)

    def begin():
        monkeypatch.setattr(
            kernels, "prepare", lambda w, dtype: TritonMatrix(to_lanes(w, dtype), Gpu(90, 132))
        )
        monkeypatch.setattr(TritonMatrix, "dequantized", dequantized)
        monkeypatch.setattr(
            TritonMatrix, "multiply_with", lambda self, x, end: multiply_with(partial(few, self), x, end)
        )
        monkeypatch.setattr(
            TritonMatrix, "multiply_by_expert", lambda self, x, e: dequantized(self).multiply_by_expert(x, e)
        )

    return begin


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_where_a_gpus_form_takes_the_place_of_the_weights_they_are_saved_as_they_were(
    checkpoint, tmp_path, lanes, name, bits
):
    folder = checkpoint(name, bits)
    expected = logits(loaded(folder))
    lanes()
    model = loaded(folder)
    module = packed_modules(model)[0]
    scale = next(name for name, _ in module.named_parameters() if name.endswith("_scale"))
    assert getattr(module, scale).dtype == torch.int32  # a lane's word
    before = logits(model)
    stored = load_file(folder / "model.safetensors")
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(stored[n], saved[n]) and stored[n].dtype == saved[n].dtype for n in stored)
    model.to("cpu")  # the checkpoint's form comes back and is prepared again
    assert getattr(module, scale).dtype == torch.bfloat16
    assert torch.equal(logits(model), before)
    assert (before - expected).norm() <= 2e-2 * expected.norm()


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "bits"), CASES)
def test_on_a_gpu_the_kernels_multiply_and_the_checkpoints_form_comes_back(checkpoint, name, bits):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    folder = checkpoint(name, bits)
    model = loaded(folder).to("cuda")
    with torch.no_grad():
        here = model(IDS.cuda()).logits.float().cpu()
    assert {matrix.path for module in packed_modules(model) for matrix in module._prepared.values()} == {
        "triton"
    }
    stored = load_file(folder / "model.safetensors")
    kept = {n: t.cpu() for n, t in model.state_dict().items()}
    assert all(torch.equal(kept[n], t) for n, t in stored.items() if n in kept)
    expected = logits(model.to("cpu"))
    assert (here - expected).norm() <= 1e-2 * expected.norm()
