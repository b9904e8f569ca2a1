"""The kernels between the matmuls on a real GPU: the interpreter's checks, larger shapes, and CUDA graphs."""

import importlib
from types import ModuleType

import pytest
import torch

from kernels import (
    Filters,
    KeyValueCache,
    attend,
    attend_prompt,
    choose,
    combine,
    gate,
    norm,
    rotate_and_attend,
    rotate_and_store,
    rotate_and_store_latent,
    route,
)
from kernels.attention import attend_plain
from kernels.attention_tiles import AttentionTile
from kernels.routing import combine_plain, gate_plain, route_plain
from tests.kernels.cases import TOLERANCE, random_rows, relative_error
from tests.kernels.step_checks import (
    Heads,
    check_attend,
    check_attend_prompt,
    check_choice,
    check_latent,
    check_norms,
    check_rotate,
    check_rotate_and_attend,
    check_router_scores,
    written_cache,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine"),
]

HALF, BRAIN = torch.float16, torch.bfloat16
MODELS = {
    "llama": Heads(32, 8, 128, 128, dtype=BRAIN),
    "opt": Heads(8, 8, 128, 128, dtype=HALF),
    "phi": Heads(4, 4, 96, 96, dtype=BRAIN),
    "gemma": Heads(8, 4, 256, 256, dtype=BRAIN),
    "gpt-oss": Heads(16, 2, 64, 64, dtype=BRAIN),
    "int8": Heads(8, 2, 128, 128, coded=True, dtype=HALF),
    "single": Heads(4, 2, 64, 64),
}


@pytest.fixture(scope="module")
def attend_kernel() -> ModuleType:
    """Imported here, because it loads Triton."""
    return importlib.import_module("kernels.attention_launch")


@pytest.mark.parametrize("parts", [None, 1, 7])
@pytest.mark.parametrize("model", MODELS)
def test_attend(model, parts, attend_kernel):
    options = {"window": 100, "sinks": True} if model == "gpt-oss" else {}
    options |= {"softcap": 20.0} if model == "gemma" else {}
    check_attend(
        attend_kernel.attend_on_gpu, MODELS[model], [200, 1, 0, 130], 256, parts=parts, device="cuda",
        **options,
    )  # fmt: skip


@pytest.mark.parametrize("coded", [False, True])
def test_attend_to_a_latent(coded):
    heads = Heads(40, 1, 576, 512, latent=512, coded=coded, dtype=BRAIN)
    check_attend(attend, heads, [150, 3], 160, device="cuda")


@pytest.mark.parametrize(("context", "capacity"), [(40_000, 40_000), (9000, 8192)])
def test_attend_over_a_long_context(context, capacity):
    """Against plain torch; the ring has gone round in the second case."""
    heads = MODELS["llama"]
    cache = written_cache(heads, [context, context // 3], capacity, device="cuda")
    wide = KeyValueCache(cache.keys.double(), cache.values.double())
    q = heads.queries(2, 5, "cuda")
    lengths = torch.tensor([context, context // 3], dtype=torch.int32, device="cuda")
    expected = attend_plain(q.double(), wide, lengths, scale=0.1)
    outs = [attend(q, cache, lengths, scale=0.1) for _ in range(20)]
    assert relative_error(outs[0], expected) <= TOLERANCE[BRAIN]
    assert all(torch.equal(outs[0], out) for out in outs)
    assert torch.count_nonzero(cache.arrived) == 0


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("window", [None, 700])
def test_attend_while_contexts_grow(window, coded):
    """One graph for all lengths, of which some are 0: from one part to several, against plain torch."""
    heads = Heads(32, 8, 128, 128, coded=coded, dtype=BRAIN)
    cache = written_cache(heads, [3000, 3000, 3000, 1], 3000, device="cuda")
    q = heads.queries(4, 5, "cuda")
    lengths = torch.zeros(4, dtype=torch.int32, device="cuda")
    attend(q, cache, lengths, scale=0.1, window=window)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        first = attend(q, cache, lengths, scale=0.1, window=window)
        again = attend(q, cache, lengths, scale=0.1, window=window)
    for length in (0, 1, 64, 65, 127, 128, 129, 256, 257, 1000, 2047, 3000):
        lengths.copy_(torch.tensor([length, length // 3, 0, min(length, 1)]))
        graph.replay()
        expected = attend_plain(q.float(), cache, lengths, scale=0.1, window=window)
        assert relative_error(first, expected.double()) <= 2 * TOLERANCE[BRAIN]
        assert torch.equal(first, again)
        assert torch.count_nonzero(cache.arrived) == 0
        assert torch.count_nonzero(first[2]) == 0


@pytest.mark.parametrize("model", ["llama", "gemma", "gpt-oss", "phi"])
def test_rotate_and_attend(model):
    """Also where two launches do it: 96 columns are no power of two."""
    options = {"window": 100, "sinks": True} if model == "gpt-oss" else {}
    check_rotate_and_attend(
        rotate_and_attend, MODELS[model], [198, -1, 0, 126], 5, 200, device="cuda", **options
    )


@pytest.mark.parametrize("warps", [2, 4])
@pytest.mark.parametrize("apart", [False, True])
def test_tiles_of_attention(apart, warps, attend_kernel):
    """Any tile gives the numbers, with as many parts as it likes."""
    tile = AttentionTile(64, warps, 3, span=64, programs=2, apart=apart)
    for model in ("llama", "phi", "gpt-oss", "int8"):
        for capacity, parts in ((200, 1), (130, 5)):
            check_attend(
                attend_kernel.attend_on_gpu, MODELS[model], [200, 1, 0, 130], capacity, device="cuda",
                window=None if model == "llama" else 100, sinks=model == "gpt-oss", parts=parts, tile=tile,
            )  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_attend_prompt(model):
    options = {"window": 60, "sinks": True} if model == "gpt-oss" else {}
    options |= {"softcap": 20.0} if model == "gemma" else {}
    for first, rows in ((0, 140), (37, 150), (129, 1)):
        check_attend_prompt(attend_prompt, MODELS[model], first, rows, 256, device="cuda", **options)


@pytest.mark.parametrize("norm_over", ["", "head", "whole"])
@pytest.mark.parametrize("model", MODELS)
def test_rotate_and_store(model, norm_over):
    heads = MODELS[model]
    for rotary, interleaved in ((heads.head_dim, False), (heads.head_dim // 2, True), (0, False)):
        check_rotate(
            rotate_and_store, heads, [3, -1, 21, 8], rotary, interleaved=interleaved, norm=norm_over,
            rows=rotary == 0, device="cuda",
        )  # fmt: skip


@pytest.mark.parametrize("coded", [False, True])
def test_rotate_and_store_latent(coded):
    heads = Heads(16, 1, 576, 512, latent=512, coded=coded, dtype=BRAIN)
    check_latent(rotate_and_store_latent, heads, [3, -1, 21], device="cuda")


@pytest.mark.parametrize("dtype", [torch.float32, HALF, BRAIN])
@pytest.mark.parametrize("width", [64, 4096, 12288])
def test_norms(width, dtype):
    check_norms(norm, 5, width, dtype, device="cuda")


@pytest.mark.parametrize("dtype", [torch.float32, BRAIN])
@pytest.mark.parametrize(
    "used",
    [
        (),
        ("penalty",),
        ("temperature",),
        ("temperature", "top_p"),
        ("temperature", "top_k"),
        ("temperature", "top_k", "top_p", "min_p", "penalty"),
    ],
)
def test_choose(used, dtype):
    for seed in range(8):
        for vocabulary in (50, 5000, 128_256):
            check_choice(choose, vocabulary, used, dtype=dtype, seed=seed, device="cuda")


def test_router_scores():
    for tokens, experts, k in ((1, 128, 2048), (16, 256, 7168), (3, 60, 1000)):
        for dtype, out in ((BRAIN, BRAIN), (HALF, HALF), (BRAIN, torch.float32)):
            check_router_scores(tokens, experts, k, dtype, out, "cuda")


def test_experts():
    for experts, k, options in (
        (128, 8, {}),
        (256, 8, {"kind": "sigmoid", "groups": 8, "kept_groups": 4}),
        (160, 6, {"groups": 8, "kept_groups": 3, "normalize": False, "scale": 16.0}),
    ):
        logits = random_rows((33, experts), torch.float32, device="cuda")
        expert, weight = route(logits, k, **options)
        expected, of_expected = route_plain(logits, k, **options)
        assert torch.equal(expert, expected)
        torch.testing.assert_close(weight, of_expected, rtol=1e-4, atol=1e-6)
    x = random_rows((12, 5760), BRAIN, device="cuda")
    for kind, options in (("silu", {}), ("clamped_swiglu", {"interleaved": True, "limit": 7.0})):
        expected = gate_plain(x.double(), kind, **options)
        assert relative_error(gate(x, kind, **options), expected) <= TOLERANCE[BRAIN]
    weight = torch.rand((3, 4), device="cuda")
    expected = combine_plain(x.double(), weight, residual=x[:3].double())
    assert relative_error(combine(x, weight, residual=x[:3]), expected) <= TOLERANCE[BRAIN]


def test_a_step_in_a_cuda_graph():
    """A layer and the choice of a token, fed by each other, replayed at growing lengths without the host."""
    heads, context = MODELS["llama"], 300
    rows, width = 3, 32 * 128
    angles = random_rows((context, 64), torch.float32, device="cuda")
    weight = random_rows((width,), BRAIN, device="cuda")
    hidden = random_rows((rows, width), BRAIN, 2, device="cuda")
    noise = torch.empty((rows, width), device="cuda").exponential_(1)
    filters = Filters(torch.full((rows,), 0.8, device="cuda"), top_p=torch.full((rows,), 0.9, device="cuda"))
    qkv = random_rows((rows, width + 2 * 8 * 128), BRAIN, 3, device="cuda")
    positions = torch.zeros(rows, dtype=torch.int64, device="cuda")

    def step(cache: KeyValueCache) -> tuple[torch.Tensor, ...]:
        mixed = rotate_and_attend(
            qkv, angles.cos(), angles.sin(), positions, (positions + 1).int(), cache, heads=32, scale=0.1
        )
        normed, total = norm(mixed.flatten(1), weight, eps=1e-5, residual=hidden)
        tokens, bad = choose(normed, filters, noise)
        return normed, total, tokens, bad

    def advance(turn: int) -> None:
        positions.copy_(torch.tensor([turn, 3 * turn, 0], device="cuda"))
        qkv.copy_(random_rows(tuple(qkv.shape), BRAIN, turn, device="cuda"))

    captured, eager = heads.cache(rows, context, "cuda"), heads.cache(rows, context, "cuda")
    step(captured)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = step(captured)
    for turn in range(60):
        advance(turn)
        graph.replay()
        expected = step(eager)
        for ours, theirs in zip(replayed, expected, strict=True):
            assert torch.equal(ours, theirs)
