"""A model on several GPUs gives what it gives on one; ranks are threads here, float32 shows every mistake."""

from threading import Lock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.errors import UsageError
from fqconsole.generation.loading import load_model
from fqconsole.generation.parallel.cutting import Cut, cut_packed, cut_tensor
from fqconsole.generation.parallel.shard import IndivisibleError, LayerShard, TensorShard
from fqconsole.generation.passes import Chunk, Pass
from fqconsole.generation.static_cache import StaticCache
from fqconsole.models.division import share
from kernels import PackedMatrix
from kernels.packing import pack_codes
from tests.generation.parallel_models import CPU, on_ranks, part_of
from tests.generation.test_families import IDS, tiny_model

TENSOR = [
    "llama", "mistral, window", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo", "glm",
    "glm4", "starcoder2", "opt", "gpt2", "llama, biases and tied", "opt 350M", "opt without biases",
    "olmo, clipped", "mixtral", "qwen3_moe", "qwen2_moe, dense layer", "gpt_oss",
]  # fmt: skip
LAYERS = ["llama", "gemma2, window", "opt 350M", "gpt2", "phi3, long", "deepseek_v3", "gpt_oss"]


def logits(decoder):
    """A prompt in two pieces, then some steps."""
    with torch.inference_mode():
        cache = StaticCache(decoder, 1, 64)
        cache.rotary.fit(len(IDS))
        found = []
        for start, end in ((0, 11), (11, 35)):
            tokens = Pass.of_chunks((Chunk(0, start, end - start),), cache.rotary, CPU)
            found.append(decoder.logits(decoder.hidden(IDS[start:end], tokens, cache.layers)))
        for position in range(35, len(IDS)):
            tokens = Pass.of_step(torch.tensor([position]), cache.rotary)
            found.append(decoder.logits(decoder.hidden(IDS[position, None], tokens, cache.layers)))
        return torch.cat(found)


def whole_logits(model):
    with torch.inference_mode():
        return model(IDS[None], use_cache=False).logits[0]


@pytest.mark.parametrize("case", TENSOR)
def test_parts_of_every_matrix_give_the_logits_of_one_gpu(case):
    model = tiny_model(case)
    expected = whole_logits(model)
    for found in on_ranks(2, lambda link: logits(part_of(model, TensorShard(link.rank, 2, link)))):
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("case", LAYERS)
def test_layers_apart_give_the_logits_of_one_gpu(case):
    model = tiny_model(case)
    expected = whole_logits(model)
    for found in on_ranks(2, lambda link: logits(part_of(model, LayerShard(link.rank, (1, 2), link)))):
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "opt"])
@pytest.mark.parametrize("split", [TensorShard, LayerShard])
@pytest.mark.usefixtures("as_stored")
def test_each_rank_loads_its_part_of_a_checkpoint(tiny, name, split):
    packed = tiny(name)[1]
    for folder in tiny(name)[:2]:
        one = load_model(folder, CPU)
        alone = Lock()  # transformers builds one model at a time
        expected = logits(one.decoder)

        def work(link, folder=folder, alone=alone):
            shard = split(link.rank, 2 if split is TensorShard else (1, 2), link)
            told = []
            with alone:
                loaded = load_model(folder, CPU, lambda done, total: told.append((done, total)), shard)
            assert 0 < told[-1][0] < told[-1][1] or folder != packed  # rows of others are not even read
            return loaded.weights_bytes, logits(loaded.decoder)

        for held, found in on_ranks(2, work):
            # 16-bit sums are rounded once more, which sends a token in fifty to another expert
            off = (found - expected).abs().amax(1) / expected.abs().max()
            assert off.sort().values[-3] < 0.03
            assert off.max() < 0.03 or name == "qwen3_moe"
            assert held < 0.8 * one.weights_bytes
        assert expected.std(dim=0).mean() > 0.01


def test_key_heads_limit_the_number_of_gpus():
    with pytest.raises(IndivisibleError, match="2 key heads of 16 on 5 GPUs"):
        part_of(tiny_model("llama"), TensorShard(0, 5, None))


@pytest.mark.parametrize(("case", "said"), [("deepseek_v3", "latent"), ("olmo2", "normed over all heads")])
def test_what_can_not_be_cut_says_why(case, said):
    with pytest.raises(IndivisibleError, match=said):
        part_of(tiny_model(case), TensorShard(0, 2, None))


def test_more_gpus_than_layers_are_refused():
    with pytest.raises(UsageError, match="2 layers"):
        part_of(tiny_model("llama"), LayerShard(1, (1, 1, 2), None))


@given(
    bits=st.sampled_from((8, 4, 3)),
    group=st.sampled_from((None, 16, 32, 64)),
    units=st.integers(2, 6),
    count=st.integers(1, 6),
    experts=st.sampled_from(((), (3,))),
    seed=st.integers(0, 5),
)
def test_the_parts_of_a_packed_matrix_are_those_of_its_weights(  # noqa: PLR0917 - what is drawn
    bits, group, units, count, experts, seed
):
    unit = max(32, group or 0)
    n, k = 12, units * unit
    made = torch.Generator().manual_seed(seed)
    top = 1 << (bits - 1)
    codes = torch.randint(-top, top, (*experts, n, k), generator=made, dtype=torch.int8)
    scales = torch.rand((*experts, n, k // group if group else 1), generator=made)
    matrix = PackedMatrix(pack_codes(codes, bits), scales, bits, group, k)
    weights = matrix.dequantize(torch.float32)
    columns = [share(k, rank, count, unit) for rank in range(count)]
    assert [start for start, _ in columns[1:]] == [stop for _, stop in columns[:-1]]
    assert (columns[0][0], columns[-1][1]) == (0, k)
    for start, stop in columns:
        if start < stop:
            found = cut_packed(matrix, Cut(((start, stop),), columns=True)).dequantize(torch.float32)
            assert torch.equal(found, weights[..., start:stop])
    rows = Cut(((1, 4), (7, 9)))
    found = cut_packed(matrix, rows).dequantize(torch.float32)
    assert torch.equal(found, cut_tensor(weights, rows, -2))


def test_columns_that_split_a_group_or_a_word_are_refused():
    matrix = PackedMatrix(torch.zeros((4, 16), dtype=torch.int32), torch.ones((4, 2)), 4, 64, 128)
    with pytest.raises(ValueError, match="columns 0 to 32"):
        cut_packed(matrix, Cut(((0, 32),), columns=True))
