"""Every architecture: a tiny model of it is quantized, loaded and compared with its own dequantized weights.

All is computed in float32, so that a difference is a wrong weight and not a rounding.
"""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.models.aria import modeling_aria

from fqconsole.generation import loading
from fqconsole.generation.session import open_session
from fqconsole.models import describe_folder
from quantizer.engine import analyse, quantize
from quantizer.reader import open_checkpoint
from tests.generation.architectures import ARCHITECTURES, IMAGE_ARCHITECTURES, auto_class, save_architecture
from tests.generation.tiny_models import VOCAB, write_tokenizer

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
IDS = torch.randint(3, VOCAB, (2, 24), generator=torch.Generator().manual_seed(5))
# Of every form that transformers opens packed; docs/checkpoint.md names those it does not.
IN_TRANSFORMERS = [
    "llama", "gemma2", "opt", "phi3", "gpt_neox", "olmo2", "cohere2", "minicpm3", "mixtral", "qwen2_moe",
    "olmoe", "glm4_moe", "deepseek_v2", "deepseek_v3", "qwen3_next", "jamba", "lfm2_moe", "zamba2",
    "llama4_text",
]  # fmt: skip
WITHOUT_CACHE = {"openai-gpt", "recurrent_gemma"}  # which a session refuses: they hand out no state


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


@pytest.fixture(autouse=True)
def float32_on_one_thread(monkeypatch):
    """Threads that wait for each other would take most of the time of matrices as small as these."""
    monkeypatch.setattr(loading, "work_dtype", lambda dtype, device: torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("model_type", [*ARCHITECTURES, *IMAGE_ARCHITECTURES])
def test_what_runs_packed_is_what_was_dequantized(model_type, tmp_path, tokenizer):
    if model_type == "aria_text" and hasattr(modeling_aria, "AriaGroupedExpertsGemm"):
        pytest.skip("this transformers computes Aria's experts in another way")
    source = save_architecture(model_type, tmp_path / "source", torch.float32)
    shutil.copytree(tokenizer, source, dirs_exist_ok=True)
    description = describe_folder(source, id=model_type, source="folder")
    plan = analyse(description, bits=4, device="cpu")
    quantize(description, plan, tmp_path / "packed", device="cpu")
    plain = dequantized_source(source, tmp_path / "packed", tmp_path / "plain")
    expected = logits(plain, auto_class(model_type))
    if model_type in WITHOUT_CACHE:
        with torch.inference_mode():
            found = loading.load_model(tmp_path / "packed", CPU).model(IDS).logits
    else:
        with open_session(tmp_path / "packed", device="cpu") as session:
            found = session.logits(IDS)
            if session.forward == "fqconsole":
                assert (stepped(session) - expected[0, 20:]).abs().max() < 1e-3 * expected.abs().max()
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()
    before = logits(source, auto_class(model_type))
    assert (before - expected).abs().max() > 1e-3 * expected.abs().max()  # something was rounded
    loaded = loading.load_model(source, CPU).model
    with torch.inference_mode():
        assert torch.equal(loaded(IDS, use_cache=False).logits, before)


@pytest.mark.parametrize("model_type", IN_TRANSFORMERS)
def test_transformers_opens_the_same_folder_and_gives_the_same_logits(model_type, tmp_path):
    source = save_architecture(model_type, tmp_path / "source", torch.float32)
    compare_with_transformers(source, tmp_path / "packed", 4)


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_transformers_joins_experts_that_the_source_holds_fused(bits, tmp_path):
    """As Qwen3.5-MoE's checkpoints do: packed they are stored one by one."""
    source = save_architecture("qwen3_5_moe_text", tmp_path / "source", torch.float32)
    fused = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).state_dict()
    assert fused["model.layers.0.mlp.experts.gate_up_proj"].dim() == 3
    save_file({n: t.contiguous() for n, t in fused.items()}, source / "model.safetensors", {"format": "pt"})
    compare_with_transformers(source, tmp_path / "packed", bits)


def stepped(session):
    """Logits of the first text's last tokens, one decode step after the other."""
    steps, text = session._ready(), IDS[0].tolist()
    with torch.inference_mode():
        steps.start(text)
        steps.forward(text[:20])
        return torch.stack([steps.step(token.view(1)).float() for token in IDS[0, 20:]])


def compare_with_transformers(source, packed, bits):
    description = describe_folder(source, id="tiny", source="folder")
    quantize(description, analyse(description, bits=bits, device="cpu"), packed, device="cpu")
    with torch.inference_mode():
        found = loading.load_model(packed, CPU).model(IDS, use_cache=False).logits
    expected = logits(packed)
    assert (found - expected).abs().max() < 1e-2 * expected.abs().max()
    assert (found - logits(source)).abs().max() > 1e-3 * expected.abs().max()


def logits(folder, kind=AutoModelForCausalLM):
    model = kind.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(IDS, use_cache=False).logits


def dequantized_source(source, packed, folder):
    """The source with the values of its packed form in their place, in its own names and layouts."""
    shutil.copytree(source, folder)
    tensors = load_file(source / "model.safetensors")
    with open_checkpoint(packed) as checkpoint:
        for name, kept in checkpoint.kept.items():
            tensors[name] = kept.load()
        for matrix in checkpoint.manifest.plan.matrices:
            values = checkpoint.matrices[matrix.name].load().dequantize(torch.float32)
            rows = slice(matrix.first_row, matrix.first_row + matrix.shape[-2])
            if len(matrix.tensors) > 1:
                tensors |= dict(zip(matrix.tensors, values, strict=True))
            elif matrix.transposed:
                tensors[matrix.tensors[0]].mT[..., rows, :] = values
            else:
                tensors[matrix.tensors[0]][..., rows, :] = values
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder
