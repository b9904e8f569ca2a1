"""Which tensors are matrices and which are kept: rules over names and shapes of many families."""

import pytest

from fqconsole.models.description import ModelDescription, TensorInfo
from quantizer.matrices import plan_matrices


def description(**shapes):
    """A description with these BF16 tensors, names written with __ for dots."""
    tensors, place = [], 8
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        tensors.append(
            TensorInfo(name.replace("__", "."), "BF16", shape, "model.safetensors", place, place + size)
        )
        place += size
    return ModelDescription(
        id="test/model", source="folder", path=None, revision=None, architecture="X", model_type="x",
        dtype="bfloat16", parameters=0, bytes=0, layers=1, hidden_size=64, intermediate_size=128, heads=4,
        vocab_size=96, context_length=128, tied_embeddings=False, experts=0, experts_per_token=0,
        attention=(), tensors=tuple(tensors),
    )  # fmt: skip


def kept_reasons(inventory):
    return {kept.name: kept.reason for kept in inventory.kept}


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("model__embed_tokens__weight", (96, 64), "embedding"),
        ("transformer__wte__weight", (96, 64), "embedding"),
        ("transformer__wpe__weight", (96, 64), "embedding"),
        ("transformer__word_embeddings__weight", (96, 64), "embedding"),
        ("model__decoder__embed_positions__weight", (96, 64), "embedding"),
        ("encoder__block__0__layer__0__SelfAttention__relative_attention_bias__weight", (32, 4), "embedding"),
        ("lm_head__weight", (96, 64), "lm_head"),
        ("embed_out__weight", (96, 64), "lm_head"),
        ("model__layers__61__shared_head__head__weight", (96, 64), "lm_head"),
        ("model__decoder__project_in__weight", (64, 32), "outside the layers"),
        ("model__norm__weight", (64,), "norm"),
        ("transformer__h__0__ln_1__weight", (64,), "norm"),
        ("model__layers__0__self_attn__q_proj__bias", (64,), "bias"),
        ("model__layers__0__mlp__gate__weight", (8, 64), "router"),
        ("model__layers__0__mlp__shared_expert_gate__weight", (1, 64), "router"),
        ("model__layers__0__block_sparse_moe__gate__weight", (8, 64), "router"),
        ("model__layers__0__mlp__router__classifier__weight", (8, 64), "router"),
        ("model__layers__0__mixer__conv1d__weight", (64, 1, 4), "convolution"),
        ("model__layers__0__short_conv__conv__weight", (64, 64), "convolution"),
        ("model__layers__0__mixer__A_log", (64,), "parameter A_log"),
        ("blocks__0__ffn__experts__mlp__w1", (256, 64), "fused experts of another layout"),
        ("model__layers__0__mlp__experts__gate_up_proj_bias", (4, 64), "bias"),
        ("model__visual__blocks__0__attn__qkv__weight", (192, 64), "not the language model"),
        ("model__layers__0__odd__weight", (4, 8, 16), "3-D tensor"),
    ],
)
def test_what_is_kept_and_why(name, shape, reason):
    inventory = plan_matrices(description(**{name: shape}))
    assert kept_reasons(inventory) == {name.replace("__", "."): reason}
    assert not inventory.matrices


def test_fused_sets_of_a_llama_layer():
    place = "model__layers__3__"
    shapes = {f"{place}self_attn__{kind}_proj__weight": (64, 64) for kind in "qkvo"}
    shapes |= {f"{place}mlp__{kind}_proj__weight": (128, 64) for kind in ("gate", "up")}
    found = {m.kind: m for m in plan_matrices(description(**shapes)).matrices}
    assert found["q_proj"].fused_set == found["k_proj"].fused_set == found["v_proj"].fused_set
    assert found["gate_proj"].fused_set == found["up_proj"].fused_set
    assert len({m.fused_set for m in found.values()}) == 3
    assert {m.layer for m in found.values()} == {3}
    assert found["q_proj"].name == "model.layers.3.self_attn.q_proj"


def test_the_same_roles_in_two_layers_are_two_sets():
    shapes = {f"model__layers__{layer}__self_attn__q_proj__weight": (64, 64) for layer in range(2)}
    assert len({m.fused_set for m in plan_matrices(description(**shapes)).matrices}) == 2


@pytest.mark.parametrize("kinds", [("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2")])
def test_routed_experts_become_one_stack_a_layer_and_projection(kinds):
    shapes = {
        f"model__layers__{layer}__mlp__experts__{expert}__{kind}__weight": (32, 64)
        for layer in range(2)
        for expert in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9)
        for kind in kinds
    }
    matrices = plan_matrices(description(**shapes)).matrices
    assert len(matrices) == 6
    assert {m.fused_set for m in matrices} == {"experts"}
    stack = next(m for m in matrices if m.layer == 1 and m.kind == kinds[0])
    assert stack.name == f"model.layers.1.mlp.experts.{kinds[0]}"
    assert stack.shape == (11, 32, 64)
    expected = [f"model.layers.1.mlp.experts.{expert}.{kinds[0]}.weight" for expert in range(11)]
    assert list(stack.tensors) == expected


def test_shared_experts_are_a_set_of_their_own():
    place = "model__layers__0__mlp__"
    shapes = {
        f"{place}experts__{e}__{kind}_proj__weight": (32, 64) for e in (0, 1) for kind in ("gate", "up")
    }
    shapes |= {f"{place}shared_experts__{kind}_proj__weight": (32, 64) for kind in ("gate", "up")}
    shared = [m for m in plan_matrices(description(**shapes)).matrices if len(m.shape) == 2]
    assert [m.fused_set for m in shared] == ["model.layers.0.mlp.shared_experts.gate_up"] * 2


def test_fused_experts_of_the_default_layout_are_cut_into_stacks():
    place = "model__layers__0__mlp__experts__"
    shapes = {f"{place}gate_up_proj": (4, 96, 64), f"{place}down_proj": (4, 64, 48)}
    found = {m.kind: m for m in plan_matrices(description(**shapes)).matrices}
    assert found["gate_proj"].shape == found["up_proj"].shape == (4, 48, 64)
    assert (found["gate_proj"].first_row, found["up_proj"].first_row) == (0, 48)
    assert found["down_proj"].shape == (4, 64, 48)


@pytest.mark.parametrize("inner", [48, 64, 128])
@pytest.mark.parametrize(
    ("rising", "falling"),
    [("experts__gate_up_proj", "experts__down_proj"), ("experts__fc1__weight", "experts__fc2__weight")],
)
def test_fused_experts_of_the_transposed_layout_are_cut_along_their_columns(inner, rising, falling):
    place = "model__layers__0__mlp__"
    shapes = {f"{place}{rising}": (4, 64, 2 * inner), f"{place}{falling}": (4, inner, 64)}
    inventory = plan_matrices(description(**shapes))
    assert not inventory.kept
    found = {m.kind: m for m in inventory.matrices}
    assert {m.name for m in found.values()} == {f"model.layers.0.mlp.experts.{kind}" for kind in found}
    assert all(m.transposed for m in found.values())
    assert found["gate_proj"].shape == found["up_proj"].shape == (4, inner, 64)
    assert (found["gate_proj"].first_row, found["up_proj"].first_row) == (0, inner)
    assert found["down_proj"].shape == (4, 64, inner)


def test_fused_experts_with_biases_may_be_interleaved_and_stay_one_stack():
    place = "model__layers__0__mlp__experts__"
    shapes = {
        f"{place}gate_up_proj": (4, 64, 96), f"{place}gate_up_proj_bias": (4, 96),
        f"{place}down_proj": (4, 48, 64), f"{place}down_proj_bias": (4, 64),
    }  # fmt: skip
    found = {m.kind: m.shape for m in plan_matrices(description(**shapes)).matrices}
    assert found == {"gate_up_proj": (4, 96, 64), "down_proj": (4, 64, 48)}


def test_granite_calls_its_fused_experts_input_and_output_linear():
    place = "model__layers__0__block_sparse_moe__"
    shapes = {f"{place}input_linear__weight": (4, 96, 64), f"{place}output_linear__weight": (4, 64, 48)}
    names = [m.name for m in plan_matrices(description(**shapes)).matrices]
    assert names == [
        f"model.layers.0.block_sparse_moe.experts.{kind}_proj" for kind in ("gate", "up", "down")
    ]


@pytest.mark.parametrize(
    "shapes", [((4, 64, 90), (4, 48, 64)), ((4, 95, 64), (4, 64, 47)), ((4, 96, 64), None)]
)
def test_fused_experts_of_which_the_shapes_tell_no_layout_are_kept(shapes):
    names = ("model__layers__0__mlp__experts__gate_up_proj", "model__layers__0__mlp__experts__down_proj")
    inventory = plan_matrices(description(**{n: s for n, s in zip(names, shapes, strict=True) if s}))
    assert not inventory.matrices
    assert set(kept_reasons(inventory).values()) == {"fused experts of another layout"}


def test_gpt2_is_known_by_its_biases_to_be_stored_transposed():
    place = "h__0__"
    shapes = {
        f"{place}attn__c_attn__weight": (64, 192), f"{place}attn__c_attn__bias": (192,),
        f"{place}attn__c_proj__weight": (64, 64), f"{place}attn__c_proj__bias": (64,),
        f"{place}mlp__c_fc__weight": (64, 256), f"{place}mlp__c_fc__bias": (256,),
        f"{place}mlp__c_proj__weight": (256, 64), f"{place}mlp__c_proj__bias": (64,),
    }  # fmt: skip
    matrices = plan_matrices(description(**shapes)).matrices
    assert [m.shape for m in matrices] == [(192, 64), (64, 64), (256, 64), (64, 256)]
    assert all(m.transposed for m in matrices)


@pytest.mark.parametrize("name", ["self_attn__output_gate", "conv__in_proj", "mlp__g_proj"])
def test_gates_and_convolution_blocks_have_matrices_too(name):
    inventory = plan_matrices(description(**{f"model__layers__0__{name}__weight": (64, 64)}))
    assert len(inventory.matrices) == 1


def test_linears_with_biases_are_not_taken_for_transposed():
    shapes = {"model__layers__0__fc1__weight": (256, 64), "model__layers__0__fc1__bias": (256,)}
    assert [m.kind for m in plan_matrices(description(**shapes)).matrices] == ["fc1"]


def test_every_tensor_is_either_a_matrix_or_kept():
    shapes = {
        "model__embed_tokens__weight": (96, 64),
        "model__layers__0__self_attn__q_proj__weight": (64, 64),
        "model__layers__0__mlp__experts__gate_up_proj": (4, 96, 64),
        "model__layers__0__mlp__experts__down_proj": (4, 64, 48),
        "model__layers__0__mlp__gate__weight": (4, 64),
    }
    inventory = plan_matrices(description(**shapes))
    covered = {name for m in inventory.matrices for name in m.tensors} | {k.name for k in inventory.kept}
    assert covered == {name.replace("__", ".") for name in shapes}
