"""The memory that a text's keys and values take is what the preview says."""

import pytest
import torch

from fqconsole.errors import DeviceError
from fqconsole.fit import Capacity, preview
from fqconsole.fit.kv import layer_bytes
from fqconsole.generation import static_cache
from fqconsole.generation.assembly import assemble
from fqconsole.generation.loading import load_model
from fqconsole.generation.static_cache import SCALES, StaticCache, cache_bytes, reserve
from fqconsole.jobs.tasks.describe import plain, tensors_of
from fqconsole.models import describe_folder
from fqconsole.models.bare_config import ClassShapes, describe_bare
from fqconsole.models.config import Config
from quantizer.engine import analyse, quantize
from tests.generation.architectures import save_architecture
from tests.generation.test_families import CASES, CPU, tiny_model


@pytest.mark.parametrize("case", CASES)
def test_the_cache_takes_what_the_preview_says(case):
    model = tiny_model(case)
    full = {**plain(model.config.to_dict()), "architectures": [type(model).__name__]}
    described = describe_bare(Config(full, "tiny.json"), ClassShapes(full, tensors_of(model)))
    decoder = assemble(model, torch.float32, CPU)
    for batch, context in ((1, 6), (3, 40)):
        expected = sum(layer_bytes(layer, context, batch, 4) for layer in described.attention)
        assert cache_bytes(decoder.cache_shapes, batch, context, 4) == expected
        assert StaticCache(decoder, batch, context).bytes == expected


def test_the_weights_of_latent_attention_take_what_the_preview_says(tmp_path):
    """The matrix that makes keys and values is held in 16 bits: decoding multiplies with it on both sides."""
    source = save_architecture("deepseek_v3", tmp_path / "source", torch.bfloat16)
    description = describe_folder(source, id="tiny", source="folder")
    quantize(description, analyse(description, bits=4, device="cpu"), tmp_path / "packed", device="cpu")
    packed = describe_folder(tmp_path / "packed", id="tiny", source="folder")
    room = Capacity("host", 1 << 40, 1 << 40, "host")
    (option,) = preview(packed, room, bits=(16,), gpu_counts=(1,), context=64).options
    held = load_model(tmp_path / "packed", CPU).weights_bytes
    assert option.weights_bytes == held


@pytest.mark.parametrize("case", ["qwen3", "deepseek_v3", "gemma3, window"])
def test_int8_takes_a_byte_a_number_and_two_scales_and_so_the_preview_says(case):
    model = tiny_model(case)
    full = {**plain(model.config.to_dict()), "architectures": [type(model).__name__]}
    described = describe_bare(Config(full, "tiny.json"), ClassShapes(full, tensors_of(model)))
    decoder = assemble(model, torch.float32, CPU)
    expected = sum(layer_bytes(layer, 40, 2, 4, 8) for layer in described.attention)
    assert StaticCache(decoder, 2, 40, bits=8).bytes == expected
    assert cache_bytes(decoder.cache_shapes, 2, 40, 1, SCALES) == expected


def test_a_context_without_room_is_named_with_one_that_fits(monkeypatch):
    decoder = assemble(tiny_model("llama"), torch.float32, CPU)

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(static_cache, "StaticCache", full)
    monkeypatch.setattr(static_cache, "free_bytes", lambda device: 1 << 20)
    with pytest.raises(DeviceError) as refused:
        reserve(decoder, 1, 1 << 20, 16, 3 << 30)
    assert (
        "1048576 tokens take 0.50 GiB beside 3.00 GiB of weights and 0.00 GiB are free" in refused.value.what
    )
    assert refused.value.next_step.startswith("Use --context 1843,")
