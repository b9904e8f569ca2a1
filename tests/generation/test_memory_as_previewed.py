"""What a session holds is what the preview says, byte for byte: weights, keys and values, on one GPU of
several too; and a pass through it takes no more than the preview allows.
"""

from functools import cache

import msgspec
import pytest
import torch
from torch import nn

from fqconsole.fit.alike import one_of_each
from fqconsole.fit.capacity import Capacity
from fqconsole.fit.estimate import Estimate
from fqconsole.fit.pieces import planned, stored
from fqconsole.fit.place import place_of
from fqconsole.generation.batch import BatchSteps
from fqconsole.generation.loading import load_model
from fqconsole.generation.modules import PackedExperts, PackedLinear
from fqconsole.generation.parallel.plan import cuts_of
from fqconsole.generation.parallel.shard import LayerShard, TensorShard
from fqconsole.generation.static_cache import StaticCache
from fqconsole.models import describe_folder
from quantizer import base_plan
from quantizer.engine import quantize
from quantizer.scheme import Scheme
from tests.generation.architectures import save_architecture
from tests.generation.live_bytes import LiveBytes
from tests.generation.tiny_models import save_llama

CPU = torch.device("cpu")
ROOM = 1 << 40
HERE = Capacity("host", ROOM, ROOM, "host")
CONTEXT = 48
FAMILIES = [
    "llama",
    "qwen3",
    "gemma2",
    "opt",
    "gpt2",
    "phi3",
    "mixtral",
    "qwen2_moe",
    "gpt_oss",
    "deepseek_v3",
]


class Silent:
    """The end of a link that nothing goes through."""

    rank, count = 0, 2


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """`folder_of("llama", 4)`: a tiny model as it is (16) or quantized."""
    base = tmp_path_factory.mktemp("previewed")

    @cache
    def made(model_type, bits):
        if bits == 16:
            return save_architecture(model_type, base / model_type, torch.bfloat16)
        description = describe_folder(made(model_type, 16), id=model_type, source="folder")
        out = base / f"{model_type}-{bits}"
        quantize(description, base_plan(description, bits, "fixed", 32), out, device="cpu")
        return out

    return made


def estimate_of(folder):
    description = describe_folder(folder, id="tiny", source="folder")
    assert description.family
    alike = one_of_each(description)
    place = place_of(alike.model, HERE)
    precision = (
        planned(alike, 16, "default", place.width)
        if description.quantization is None
        else stored(alike, place.width)
    )
    return Estimate(alike, precision, place, 16)


def held_bytes(loaded):
    """Of all memory behind the tensors of a loaded model and its decoder; rotary frequencies aside."""
    aside = {id(buffer) for _, buffer in loaded.model.named_non_persistent_buffers()}
    spaces, seen = {}, set()

    def walk(item):
        if id(item) in seen or id(item) in aside or isinstance(item, type):
            return
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            space = item.untyped_storage()
            if not item.is_meta and item.dim():
                spaces[space.data_ptr()] = space.nbytes()
        elif isinstance(item, nn.Module):
            for part in (*item.parameters(), *item.buffers()):
                walk(part)
            for module in item.modules():
                if isinstance(module, PackedLinear | PackedExperts):
                    walk(vars(module))
        elif isinstance(item, dict):
            for part in item.values():
                walk(part)
        elif isinstance(item, list | tuple):
            for part in item:
                walk(part)
        elif type(item).__module__.startswith(("fqconsole.generation", "kernels")) and hasattr(
            item, "__dict__"
        ):
            walk(vars(item))

    walk(loaded.model)
    walk(loaded.decoder)
    return sum(spaces.values())


@pytest.mark.parametrize("bits", [16, 8, 4, 3])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_one_device_holds_what_is_previewed(folder_of, model_type, bits):
    folder = folder_of(model_type, bits)
    (load,) = estimate_of(folder).loads_as("one", [ROOM], CONTEXT, 3)
    loaded = load_model(folder, CPU)
    assert held_bytes(loaded) == load.weights
    assert StaticCache(loaded.decoder, 3, CONTEXT).bytes == load.kv


@pytest.mark.parametrize("bits", [16, 4])
def test_uneven_parts_are_previewed_too(tmp_path, bits):
    """Three key heads and five groups of features on two GPUs."""
    folder = save_llama(
        tmp_path / "whole", hidden_size=96, num_attention_heads=6, num_key_value_heads=3,
        intermediate_size=160, vocab_size=385,
    )  # fmt: skip
    if bits != 16:
        description = describe_folder(folder, id="llama", source="folder")
        folder = tmp_path / "packed"
        quantize(description, base_plan(description, bits, "fixed", 32), folder, device="cpu")
    loads = estimate_of(folder).loads_as("tensor", [ROOM] * 2, CONTEXT, 1)
    assert loads[0].kv * 2 == loads[1].kv
    for rank, load in enumerate(loads):
        loaded = load_model(folder, CPU, shard=TensorShard(rank, 2, Silent()))
        assert held_bytes(loaded) == load.weights
        assert StaticCache(loaded.decoder, 1, CONTEXT).bytes == load.kv


MIXED = {
    "qkv": Scheme(8, None),
    "o_proj": Scheme(4, 8),
    "gate_up": Scheme(3, None),
    "down_proj": Scheme(8, None),
}


@pytest.mark.parametrize("schemes", [{}, MIXED], ids=["int3 throughout", "mixed"])
def test_rows_of_any_length_and_width_are_previewed_too(tmp_path, schemes):
    """Rows of 104 and 200 end within a word of int3; a row of int8 is as long as one of int4 twice that."""
    source = save_llama(tmp_path / "whole", hidden_size=104, intermediate_size=200)
    description = describe_folder(source, id="llama", source="folder")
    plan = base_plan(description, 3, "fixed", None)
    matrices = tuple(
        msgspec.structs.replace(
            matrix, scheme=schemes.get(matrix.fused_set.rpartition(".")[2], matrix.scheme)
        )
        for matrix in plan.matrices
    )
    folder = tmp_path / "packed"
    quantize(description, msgspec.structs.replace(plan, matrices=matrices), folder, device="cpu")
    estimate = estimate_of(folder)
    (load,) = estimate.loads_as("one", [ROOM], CONTEXT, 1)
    assert held_bytes(load_model(folder, CPU)) == load.weights
    assert {load.shard.dense} == {200}
    for count in (2, 4):
        assert (cuts_of(folder, count, "auto", None) is None) == (estimate.splits(count)[0] == "tensor")


@pytest.mark.parametrize("head", [8, 4])
def test_a_packed_head_is_previewed_too(folder_of, tmp_path, head):
    description = describe_folder(folder_of("llama", 16), id="llama", source="folder")
    quantize(description, base_plan(description, 4, "fixed", 32, head=head), tmp_path / "out", device="cpu")
    estimate = estimate_of(tmp_path / "out")
    (load,) = estimate.loads_as("one", [ROOM], CONTEXT, 1)
    assert held_bytes(load_model(tmp_path / "out", CPU)) == load.weights
    assert estimate.whole.weights.read_last < description.vocab_size * description.hidden_size * 2
    for rank, load in enumerate(estimate.loads_as("tensor", [ROOM] * 2, CONTEXT, 1)):
        assert (
            held_bytes(load_model(tmp_path / "out", CPU, shard=TensorShard(rank, 2, Silent())))
            == load.weights
        )


@pytest.mark.parametrize("bits", [16, 8, 4, 3])
@pytest.mark.parametrize("model_type", FAMILIES[:-1])
def test_each_gpu_holds_the_part_that_is_previewed(folder_of, model_type, bits):
    folder = folder_of(model_type, bits)
    estimate = estimate_of(folder)
    if estimate.splits(2) == ("layer",):
        assert model_type == "qwen2_moe"  # two GPUs have no halves of 32 features in groups of 32
        return
    loads = estimate.loads_as("tensor", [ROOM] * 2, CONTEXT, 1)
    for rank, load in enumerate(loads):
        loaded = load_model(folder, CPU, shard=TensorShard(rank, 2, Silent()))
        assert held_bytes(loaded) == load.weights
        assert StaticCache(loaded.decoder, 1, CONTEXT).bytes == load.kv


@pytest.mark.parametrize("bits", [16, 4])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_session_splits_as_previewed(folder_of, model_type, bits):
    folder = folder_of(model_type, bits)
    estimate = estimate_of(folder)
    for count in (2, 3):
        assert (cuts_of(folder, count, "auto", None) is None) == (estimate.splits(count)[0] == "tensor")


@pytest.mark.parametrize("bits", [16, 4])
@pytest.mark.parametrize("model_type", ["llama", "gemma2", "opt", "deepseek_v3"])
def test_each_gpu_holds_the_layers_that_are_previewed(folder_of, model_type, bits):
    folder = folder_of(model_type, bits)
    estimate = estimate_of(folder)
    loads = estimate.loads_as("layer", [ROOM] * 2, CONTEXT, 1)
    ends = tuple(load.share.stop for load in loads)
    for rank, load in enumerate(loads):
        loaded = load_model(folder, CPU, shard=LayerShard(rank, ends, Silent()))
        assert held_bytes(loaded) == load.weights
        assert StaticCache(loaded.decoder, 1, CONTEXT).bytes == load.kv


@pytest.mark.parametrize("bits", [16, 4])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_prompts_and_a_step_take_no_more_than_previewed(folder_of, model_type, bits):
    folder = folder_of(model_type, bits)
    loaded = load_model(folder, CPU)
    for batch, context in ((1, 200), (3, 64)):
        (load,) = estimate_of(folder).loads_as("one", [ROOM], context, batch)
        with torch.inference_mode():
            steps = BatchSteps(loaded.decoder, StaticCache(loaded.decoder, batch, context))
            with LiveBytes(CPU) as live:
                steps.prompts([[5] * (context - 1)] * batch, lambda: False)
                steps.step(torch.zeros(batch, dtype=torch.int64), [True] * batch)
        assert live.peak <= load.activations <= 3 * live.peak
