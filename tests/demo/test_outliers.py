"""The derived models compute what `demo` computes, exactly; only the ranges inside their matrices differ."""

import json
import shutil
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.demo import builtin, builtin_models, materialize
from fqconsole.demo.outliers import (
    BLOCK,
    CHOOSERS,
    READERS,
    block_channels,
    derive,
    rescale,
    scattered_channels,
    shift_exponent,
)
from fqconsole.errors import OperatorError, UsageError

DERIVED = tuple(CHOOSERS)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A small random Llama in bf16, saved as a built-in model is."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        intermediate_size=192,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                weight.uniform_(0.3, 2.0)
    folder = tmp_path_factory.mktemp("llama")
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "training.json").write_text("{}")
    return folder


def tensors(weights):
    """name → float64 array of a bf16 safetensors file."""
    size = int.from_bytes(weights[:8], "little")
    found = {}
    for name, entry in json.loads(weights[8 : 8 + size]).items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            bits = np.frombuffer(weights[8 + size :][start:end], dtype=np.uint16).astype(np.uint32) << 16
            found[name] = bits.view(np.float32).astype(np.float64).reshape(entry["shape"])
    return found


@pytest.mark.parametrize("model_id", DERIVED)
def test_norm_times_matrix_is_the_same_to_the_last_bit(source, model_id):
    before = (source / "model.safetensors").read_bytes()
    after, chosen = rescale(before, model_id)
    old, new = tensors(before), tensors(after)
    touched = set(chosen)
    assert len(chosen) == 4  # two norms in each of two layers; the last norm stays
    for name, channels in chosen.items():
        prefix, _, norm = name.removesuffix(".weight").rpartition(".")
        for reader in READERS[norm]:
            matrix = f"{prefix}.{reader}.weight"
            touched.add(matrix)
            assert np.array_equal(old[name] * old[matrix], new[name] * new[matrix])
            assert np.array_equal(new[matrix][:, channels], 16 * old[matrix][:, channels])
    for name in old.keys() - touched:
        assert np.array_equal(old[name], new[name])


@pytest.mark.parametrize("model_id", DERIVED)
def test_sixteen_bit_logits_are_equal(source, model_id, tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import LlamaForCausalLM

    ids = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))
    folder = derive(model_id, source, tmp_path)
    with torch.no_grad():
        plain, derived = (
            LlamaForCausalLM.from_pretrained(place, dtype=torch.bfloat16)(input_ids=ids).logits
            for place in (source, folder)
        )
    assert torch.equal(plain, derived)


def test_a_block_is_aligned_and_scattered_channels_lie_in_different_groups():
    for seed in range(50):
        block = block_channels(Random(seed), 256)
        assert block == list(range(block[0], block[0] + BLOCK))
        assert block[0] % BLOCK == 0
        scattered = scattered_channels(Random(seed), 256)
        assert len({channel // BLOCK for channel in scattered}) == 4


@given(
    st.lists(st.floats(2**-100, 2**100, width=32) | st.floats(-(2**100), -(2**-100), width=32), min_size=1)
)
def test_shifting_the_exponent_multiplies_exactly(values):
    bits = (np.array([0.0, -0.0, *values], dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)

    def number(some):
        return (some.astype(np.uint32) << 16).view(np.float32).astype(np.float64)

    assert np.array_equal(number(shift_exponent(bits, 4)), 16 * number(bits))
    assert np.array_equal(shift_exponent(shift_exponent(bits, 4), -4), bits)


@pytest.mark.parametrize(
    ("bits", "step"), [(0x7F00, 4), (0x0100, -4), (0x0001, 4), (0x7F80, -4), (0x7FC0, 4)]
)
def test_what_would_overflow_or_lose_bits_is_refused(bits, step):
    with pytest.raises(ValueError, match="exactly"):
        shift_exponent(np.array([bits], dtype=np.uint16), step)


def test_the_derived_folder_is_whole_and_made_once(source, tmp_path):
    folder = derive("demo-outliers", source, tmp_path)
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        {file.name for file in source.iterdir()} - {"training.json"} | {"README.md"}
    )
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert derive("demo-outliers", source, tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]


def test_a_half_made_folder_is_replaced(source, tmp_path):
    folder = derive("demo-outliers", source, tmp_path)
    (folder / "model.safetensors").unlink()
    assert derive("demo-outliers", source, tmp_path) == folder
    assert (folder / "model.safetensors").is_file()


def test_other_weights_get_another_folder(source, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(source, other)
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-2] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    assert derive("demo-outliers", source, tmp_path) != derive("demo-outliers", other, tmp_path)


def test_materialize_finds_every_built_in_model(source, tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "WEIGHTS", tmp_path)
    for name in ("demo", "demo-moe"):
        shutil.copytree(source, tmp_path / name)
    for model in builtin_models():
        folder = materialize(model.id)
        assert (folder / "config.json").is_file()
        assert model.summary
        assert model.suggested_prompt
        assert (folder == tmp_path / model.id) == (model.id in {"demo", "demo-moe"})


def test_an_unknown_id_names_the_known_ones():
    with pytest.raises(UsageError, match=r"no built-in model 'demos'.*demo-outliers-scattered"):
        materialize("demos")


def test_missing_weights_are_said_plainly(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "WEIGHTS", tmp_path)
    with pytest.raises(OperatorError, match="weights of the built-in model demo are missing"):
        materialize("demo-outliers")


def test_a_cache_that_cannot_be_written_is_said_plainly(source, tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file where a folder should be")
    monkeypatch.setenv("FQCONSOLE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(builtin, "WEIGHTS", tmp_path)
    shutil.copytree(source, tmp_path / "demo")
    with pytest.raises(OperatorError, match="could not be made"):
        materialize("demo-outliers")
