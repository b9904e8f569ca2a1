# ruff: noqa: PLR0917 — a case has as many parts as it has
"""The kernels between the matmuls through Triton's interpreter. Run by `test_interpreter.py`.

Not collected with the other tests: the interpreter is chosen when Triton is imported, for the whole process.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import KeyValueCache
from kernels.apart import multiply_apart
from kernels.attention import attend_plain
from kernels.attention_launch import attend_on_gpu, can_turn
from kernels.attention_tiles import AttentionTile
from kernels.choice_kernel import choose_on_gpu
from kernels.epilogue import Epilogue, Norm, multiply_with
from kernels.norms_kernel import norm_on_gpu
from kernels.prompt_kernel import attend_prompt_on_gpu
from kernels.rotary_kernel import rotate_and_store_latent_on_gpu, rotate_and_store_on_gpu
from kernels.routing import combine_plain, gate_plain, route_plain
from kernels.routing_kernel import combine_on_gpu, gate_on_gpu, route_on_gpu
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

DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
HALF, BRAIN = torch.float16, torch.bfloat16


# Warps with positions of their own, and such that share columns; parts of one block and of several.
TILES = (
    AttentionTile(block=64, warps=4, stages=2, span=16, programs=1, apart=True),
    AttentionTile(block=32, warps=2, stages=2, span=64, programs=1, apart=True),
    AttentionTile(block=16, warps=4, stages=2, span=16, programs=1, apart=False),
)


@settings(deadline=None, max_examples=24, derandomize=True)
@given(
    kv_heads=st.integers(1, 2), group=st.sampled_from([1, 3, 17]), head_dim=st.sampled_from([8, 20, 32]),
    value_dim=st.sampled_from([8, 24]), coded=st.booleans(), dtype=DTYPES,
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=3), capacity=st.sampled_from([90, 37]),
    window=st.sampled_from([None, 30]), softcap=st.sampled_from([None, 2.0]), sinks=st.booleans(),
    parts=st.sampled_from([1, 2, 5]), tile=st.sampled_from([None, *TILES]), seed=st.integers(0, 99),
)  # fmt: skip
def test_attend(
    kv_heads, group, head_dim, value_dim, coded, dtype, lengths, capacity, window, softcap, sinks, parts,
    tile, seed,
):  # fmt: skip
    heads = Heads(kv_heads * group, kv_heads, head_dim, value_dim, 0, coded, dtype)
    check_attend(
        attend_on_gpu, heads, lengths, capacity, window=window, softcap=softcap, sinks=sinks, seed=seed,
        parts=parts, tile=tile,
    )  # fmt: skip


@pytest.mark.parametrize(("coded", "parts", "heads"), [(False, 1, 5), (True, 3, 5), (False, 2, 40)])
def test_attend_to_a_latent(coded, parts, heads):
    """40 heads are two programs, which an extra launch merges."""
    shape = Heads(heads, 1, 24 + 6, 24, latent=24, coded=coded, dtype=BRAIN)
    check_attend(attend_on_gpu, shape, [70, 3], 80, parts=parts)


@pytest.mark.parametrize("tile", TILES)
def test_the_last_part_leaves_the_counters_at_zero(tile):
    """Lengths grow from call to call, through one part to several, beside a sequence without tokens."""
    heads = Heads(6, 2, 32, 16, dtype=HALF)
    cache = written_cache(heads, [130, 0, 70], 130)
    q = heads.queries(3, 1, "cpu")
    for length in (1, 16, 17, 64, 65, 130):
        lengths = torch.tensor([length, 0, min(length, 70)], dtype=torch.int32)
        out = attend_on_gpu(q, cache, lengths, scale=0.2, parts=4, tile=tile)
        expected = attend_plain(q, cache, lengths, scale=0.2)
        assert relative_error(out, expected.double()) <= 2 * TOLERANCE[HALF]
        assert torch.count_nonzero(out[1]) == 0
        assert cache.arrived is not None
        assert torch.count_nonzero(cache.arrived) == 0


@pytest.mark.parametrize("tile", [TILES[0], TILES[2]])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (Heads(6, 2, 32, 32, dtype=BRAIN), {}),
        (Heads(4, 4, 16, 8, dtype=HALF), {"window": 20, "sinks": True}),
        (Heads(40, 1, 16, 16), {"softcap": 3.0}),
    ],
)
def test_rotate_and_attend(shape, options, tile):
    """In a ring that goes round; beside a text that begins and one that is not there."""

    def turned(qkv, cos, sin, positions, lengths, cache, *, heads, **others):
        assert can_turn(cache, cos)
        return attend_on_gpu(qkv, cache, lengths, angles=(cos, sin), **others)

    check_rotate_and_attend(turned, shape, [47, -1, 0], 3, 48, parts=3, tile=tile, **options)


def test_a_cache_without_counters():
    heads = Heads(4, 2, 16, 16, dtype=BRAIN)
    cache = written_cache(heads, [60, 9], 64)
    bare = KeyValueCache(cache.keys, cache.values)
    lengths = torch.tensor([60, 9], dtype=torch.int32)
    ours, theirs = (
        attend_on_gpu(heads.queries(2, 1, "cpu"), each, lengths, scale=0.3, parts=3, tile=TILES[2])
        for each in (cache, bare)
    )
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("first", "rows", "capacity", "heads", "options"),
    [
        (0, 21, 30, Heads(dtype=BRAIN), {}),
        (13, 70, 100, Heads(4, 2, 20, 12, dtype=HALF), {"softcap": 3.0}),
        (60, 9, 40, Heads(3, 1, 40, 16, dtype=BRAIN), {"window": 30, "sinks": True}),
        (5, 66, 80, Heads(2, 2, 16, 16, coded=True, dtype=HALF), {"window": 20}),
    ],
)
def test_attend_prompt(first, rows, capacity, heads, options):
    check_attend_prompt(attend_prompt_on_gpu, heads, first, rows, capacity, **options)


@settings(deadline=None, max_examples=8, derandomize=True)
@given(
    head_dim=st.sampled_from([8, 20]), rotary=st.sampled_from([0, 6, 8]), interleaved=st.booleans(),
    norm=st.sampled_from(["", "head", "whole"]), kind=st.sampled_from(["rms", "rms_once"]),
    coded=st.booleans(), rows=st.booleans(), dtype=DTYPES, seed=st.integers(0, 99),
)  # fmt: skip
def test_rotate_and_store(head_dim, rotary, interleaved, norm, kind, coded, rows, dtype, seed):
    heads = Heads(3, 1, head_dim, 12, coded=coded, dtype=dtype)
    check_rotate(
        rotate_and_store_on_gpu, heads, [3, -1, 21, 8], rotary, interleaved=interleaved, norm=norm, rows=rows,
        kind=kind, seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize(("coded", "interleaved", "dtype"), [(False, True, HALF), (True, False, BRAIN)])
def test_rotate_and_store_latent(coded, interleaved, dtype):
    heads = Heads(3, 1, 26, 20, latent=20, coded=coded, dtype=dtype)
    check_latent(rotate_and_store_latent_on_gpu, heads, [3, -1, 21], interleaved=interleaved)


@pytest.mark.parametrize(("width", "dtype"), [(40, torch.float32), (1030, HALF), (100, BRAIN)])
def test_norms(width, dtype):
    check_norms(norm_on_gpu, 3, width, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, BRAIN])
@pytest.mark.parametrize(
    "used",
    [
        (),
        ("penalty",),
        ("temperature",),
        ("temperature", "top_p"),
        ("temperature", "top_k"),
        ("temperature", "top_k", "top_p", "penalty"),
        ("temperature", "top_k", "top_p", "min_p"),
    ],
)
def test_choose(used, dtype):
    for seed in range(3):
        check_choice(choose_on_gpu, 60, used, dtype=dtype, seed=seed)
    check_choice(choose_on_gpu, 9000, used, dtype=dtype)


def test_choose_with_equal_logits_and_nan():
    logits = torch.zeros((3, 5000))
    logits[0, [4500, 77]] = 3.0
    logits[2, 10] = float("nan")
    tokens, bad = choose_on_gpu(logits)
    assert tokens[:2].tolist() == [77, 0]
    assert bad.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("experts", "k", "options"),
    [
        (8, 2, {}),
        (60, 4, {"normalize": False, "scale": 2.5}),
        (20, 6, {"groups": 4, "kept_groups": 2}),
        (24, 3, {"kind": "sigmoid", "groups": 3, "kept_groups": 1, "bias": True}),
        (5, 5, {"kind": "sigmoid"}),
    ],
)
def test_route(experts, k, options):
    if options.pop("bias", False):
        options["bias"] = random_rows((experts,), torch.float32, 5)
    for dtype in (torch.float32, BRAIN):
        logits = random_rows((7, experts), dtype)
        expert, weight = route_on_gpu(logits, k, **options)
        expected, of_expected = route_plain(logits, k, **options)
        assert torch.equal(expert, expected)
        torch.testing.assert_close(weight, of_expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("tokens", "experts", "k"), [(1, 8, 20), (3, 6, 2048), (2, 5, 4100)])
def test_router_scores(tokens, experts, k):
    for dtype, out in ((BRAIN, BRAIN), (HALF, torch.float32), (torch.float32, torch.float32)):
        check_router_scores(tokens, experts, k, dtype, out, "cpu")


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize(
    ("kind", "options", "biased"),
    [
        ("silu", {}, 0),
        ("gelu", {}, 1),
        ("gelu_tanh", {"interleaved": True}, 2),
        ("clamped_swiglu", {"interleaved": True, "limit": 1.5}, 2),
    ],
)
def test_gate(kind, options, biased, dtype):
    x = random_rows((4, 60), dtype)
    if biased:
        shape = (60,) if biased == 1 else (3, 60)
        options = options | {"bias": random_rows(shape, dtype, 3)}
    if biased == 2:
        options = options | {"expert": torch.tensor([0, 2, 3, 1])}
    expected = gate_plain(x.double(), kind, **options)
    assert relative_error(gate_on_gpu(x, kind, **options), expected) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, BRAIN])
def test_combine(dtype):
    x, weight = random_rows((6, 50), dtype), random_rows((2, 3), torch.float32)
    around = {
        "bias": random_rows((4, 50), dtype, 3),
        "expert": torch.tensor([0, 1, 2, 3, 4, 0]),
        "residual": random_rows((2, 50), dtype, 4),
    }
    for options in ({}, around):
        expected = combine_plain(x.double(), weight, **options)
        assert relative_error(combine_on_gpu(x, weight, **options), expected) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("activation", [None, "silu", "gelu_tanh"])
@pytest.mark.parametrize(("norm", "residual"), [(True, True), (True, False), (False, True)])
def test_what_is_around_a_product_in_launches_of_its_own(activation, norm, residual, dtype):
    """Against plain torch around the same product, in float32: only the rounding between differs."""
    m, n, k = 5, 96, 160
    weight = random_rows((n, k), dtype, 1)
    bias = random_rows((n,), dtype, 2)
    epilogue = Epilogue(
        bias,
        random_rows((m, n if activation is None else n // 2), dtype, 3) if residual else None,
        activation,
        Norm(random_rows((k,), dtype, 4), 1e-5) if norm else None,
    )
    x = random_rows((m, k), dtype)
    found = multiply_apart(lambda x, bias: x @ weight.mT + bias, x, epilogue)
    added = None if epilogue.residual is None else epilogue.residual.float()
    wide = Epilogue(bias.float(), added, activation)
    normed = epilogue.norm.apply(x) if norm else x
    expected = multiply_with(lambda x, bias: x @ weight.float().mT + bias, normed.float(), wide)
    assert found.dtype == dtype
    assert relative_error(found, expected) <= 4 * TOLERANCE[dtype]
