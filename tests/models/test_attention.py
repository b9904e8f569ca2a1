"""The attention of each layer, from the fields of real families' config files."""

import pytest

from fqconsole.models.attention import read_attention
from fqconsole.models.config import Config

HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "head_dim": 128}


def kinds(fields, layers):
    return [layer.kind for layer in read_attention(Config(fields), layers)]


def test_grouped_heads():
    (layer, *_) = read_attention(Config(HEADS), 3)
    assert (layer.kind, layer.kv_heads, layer.head_dim, layer.value_head_dim) == ("full", 8, 128, 128)


def test_heads_without_groups_take_the_hidden_size_apart():
    (layer,) = read_attention(Config({"n_head": 12, "n_embd": 768}), 1)
    assert (layer.kv_heads, layer.head_dim) == (12, 64)


def test_falcon_keeps_one_head_whatever_its_config_says():
    falcon = {"model_type": "falcon", "num_attention_heads": 71, "num_kv_heads": 71, "hidden_size": 4544}
    assert read_attention(Config(falcon), 1)[0].kv_heads == 1
    new = {
        **falcon,
        "num_attention_heads": 128,
        "num_kv_heads": 8,
        "hidden_size": 8192,
        "new_decoder_architecture": True,
    }
    assert read_attention(Config(new), 1)[0].kv_heads == 8


def test_mistral_slides_in_every_layer():
    layers = read_attention(Config({**HEADS, "model_type": "mistral", "sliding_window": 4096}), 4)
    assert {(layer.kind, layer.window) for layer in layers} == {("sliding", 4096)}


def test_qwen_writes_a_window_and_switches_it_off():
    qwen = {**HEADS, "model_type": "qwen2", "sliding_window": 131072, "max_window_layers": 28}
    assert kinds({**qwen, "use_sliding_window": False}, 4) == ["full"] * 4
    assert kinds(qwen, 4) == ["full"] * 4
    on = {**qwen, "use_sliding_window": True, "max_window_layers": 3}
    assert kinds(on, 4) == ["full", "full", "full", "sliding"]


def test_gemma_2_and_3_alternate():
    assert kinds({**HEADS, "model_type": "gemma2"}, 4) == ["sliding", "full", "sliding", "full"]
    gemma3 = {"text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "sliding_window": 1024}}
    layers = read_attention(Config(gemma3), 34)
    assert [index for index, layer in enumerate(layers) if layer.kind == "full"] == [5, 11, 17, 23, 29]
    assert (layers[0].window, layers[0].kv_heads, layers[0].head_dim) == (1024, 4, 256)


def test_words_per_layer_go_before_every_rule():
    fields = {**HEADS, "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"]}
    assert kinds(fields, 2) == ["sliding", "full"]


def test_exaone_repeats_letters():
    fields = {**HEADS, "sliding_window": 4096, "sliding_window_pattern": "LLLG"}
    assert kinds(fields, 6) == ["sliding", "sliding", "sliding", "full", "sliding", "sliding"]


def test_llama_4_sees_chunks_but_in_each_fourth_layer():
    fields = {**HEADS, "model_type": "llama4_text"}
    layers = read_attention(Config(fields), 4)
    assert [layer.kind for layer in layers] == ["chunked", "chunked", "chunked", "full"]
    assert layers[0].window == 8192


def test_latent_attention():
    deepseek = {
        "num_attention_heads": 128, "num_key_value_heads": 128, "hidden_size": 7168, "kv_lora_rank": 512,
        "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    }  # fmt: skip
    (layer,) = read_attention(Config(deepseek), 1)
    assert (layer.kind, layer.latent_dim, layer.head_dim, layer.value_head_dim) == ("mla", 576, 192, 128)


def test_jamba_keeps_keys_in_one_layer_of_eight():
    jamba = {**HEADS, "attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16, "mamba_d_conv": 4}
    layers = read_attention(Config(jamba), 16)
    assert [index for index, layer in enumerate(layers) if layer.kind == "full"] == [4, 12]
    # Mamba 1: inner width 2 · 4096, a state of 16 and a window of 4 for each.
    assert layers[0].state_elements == 8192 * 16 + 8192 * 4
    assert layers[4].state_elements == 0


def test_qwen3_next_is_linear_in_three_layers_of_four():
    fields = {
        "model_type": "qwen3_next", "num_attention_heads": 16, "num_key_value_heads": 2, "hidden_size": 2048,
        "head_dim": 256, "linear_num_value_heads": 32, "linear_num_key_heads": 16, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
    }  # fmt: skip
    layers = read_attention(Config(fields), 8)
    assert [layer.kind for layer in layers] == (["linear"] * 3 + ["full"]) * 2
    assert layers[0].state_elements == 32 * 128 * 128 + (2 * 16 * 128 + 32 * 128) * 4


def test_nemotron_h_letters():
    fields = {**HEADS, "hybrid_override_pattern": "M-M*E", "ssm_state_size": 128, "mamba_num_heads": 128,
              "mamba_head_dim": 64, "n_groups": 8, "conv_kernel": 4}  # fmt: skip
    layers = read_attention(Config(fields), 5)
    assert [layer.kind for layer in layers] == ["linear", "linear", "linear", "full", "linear"]
    assert [layer.state_elements > 0 for layer in layers] == [True, False, True, False, False]


def test_mamba_has_no_heads_at_all():
    (layer,) = read_attention(
        Config({"model_type": "mamba", "hidden_size": 768, "state_size": 16, "expand": 2}), 1
    )
    assert (layer.kind, layer.kv_heads, layer.state_elements) == ("linear", 0, 1536 * 16 + 1536 * 4)


def test_recurrent_gemma_repeats_blocks():
    fields = {"num_attention_heads": 10, "num_key_value_heads": 1, "hidden_size": 2560, "lru_width": 2560,
              "block_types": ["recurrent", "recurrent", "attention"],
              "attention_window_size": 2048}  # fmt: skip
    assert kinds(fields, 5) == ["linear", "linear", "sliding", "linear", "linear"]


@pytest.mark.parametrize(
    ("fields", "full"),
    [
        ({"attn_layer_indices": [1, 3], "mamba_d_state": 4}, [1, 3]),
        ({"full_attn_idxs": [0], "conv_L_cache": 3}, [0]),
        ({"linear_attn_config": {"full_attn_layers": [4], "head_dim": 128, "num_heads": 32}}, [3]),
        ({"attn_type_list": [0, 0, 0, 1]}, [3]),
    ],
)
def test_listed_layers(fields, full):
    found = kinds({**HEADS, **fields}, 4)
    assert [index for index, kind in enumerate(found) if kind == "full"] == full


def test_shared_layers_keep_nothing_of_their_own():
    layers = read_attention(Config({**HEADS, "num_kv_shared_layers": 2}), 4)
    assert [layer.kv_heads for layer in layers] == [8, 8, 0, 0]


def test_layers_may_differ_one_by_one():
    fields = {**HEADS, "per_layer_config": {"1": {"head_dim": 512, "num_key_value_heads": 2}}}
    assert [(layer.kv_heads, layer.head_dim) for layer in read_attention(Config(fields), 2)] == [
        (8, 128),
        (2, 512),
    ]
    listed = read_attention(Config({**HEADS, "num_key_value_heads": [8, 4]}), 2)
    assert [layer.kv_heads for layer in listed] == [8, 4]


def test_gemma_4_widens_its_full_layers():
    fields = {**HEADS, "global_head_dim": 512, "num_global_key_value_heads": 2, "sliding_window": 512,
              "layer_types": ["sliding_attention", "full_attention"], "attention_k_eq_v": False}  # fmt: skip
    sliding, full = read_attention(Config(fields), 2)
    assert (sliding.head_dim, full.head_dim, full.kv_heads) == (128, 512, 8)
    gated = read_attention(Config({**fields, "attention_k_eq_v": True}), 2)
    assert gated[1].kv_heads == 2
