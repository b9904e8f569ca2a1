"""config.json: fields found under any of their names, and a sentence naming the field where they are not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.errors import OperatorError
from fqconsole.models import ModelError
from fqconsole.models.config import HIDDEN, LAYERS, MAX_CONFIG_BYTES, Config, parse_config, read_config
from fqconsole.models.describe import build
from fqconsole.models.description import ModelEntry, TensorInfo
from tests.models.checkpoints import LLAMA

ENTRY = ModelEntry("x", "folder", "/x")
TENSORS = (
    TensorInfo("model.embed_tokens.weight", "BF16", (96, 64), "model.safetensors", 0, 96 * 128),
    TensorInfo("lm_head.weight", "BF16", (96, 64), "model.safetensors", 96 * 128, 192 * 128),
)


def described(**changes):
    fields = {key: value for key, value in {**LLAMA, **changes}.items() if value != "left out"}
    return build(Config(fields, "config.json"), TENSORS, entry=ENTRY, manifest=None, license=None)


def test_the_same_field_under_the_names_of_other_families():
    gpt2 = Config({"n_layer": 3, "n_embd": 48})
    assert gpt2.size(*LAYERS) == 3
    assert gpt2.size(*HIDDEN) == 48


def test_a_nested_text_config_goes_first():
    config = Config({"hidden_size": 1, "text_config": {"hidden_size": 64, "model_type": "gemma3_text"}})
    assert config.size(*HIDDEN) == 64
    assert config.model_type == "gemma3_text"
    assert config.size("num_attention_heads") == 8  # left out in the file, filled in by the class


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hidden_size": "left out"}, "hidden_size"),
        ({"num_hidden_layers": "left out"}, "num_hidden_layers"),
        ({"num_attention_heads": "left out"}, "num_attention_heads"),
        ({"max_position_embeddings": "left out"}, "max_position_embeddings"),
        ({"hidden_size": -64}, "hidden_size"),
        ({"hidden_size": "large"}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": 2**60}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_attention_heads": 5}, "head_dim"),
        ({"num_key_value_heads": [1, 2, 3]}, "num_key_value_heads"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": ["full_attention", "telepathy"]}, "layer_types"),
        ({"layer_types": "full_attention"}, "layer_types"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding_window"),
        ({"use_sliding_window": 1, "sliding_window": 8}, "use_sliding_window"),
        ({"hybrid_override_pattern": "M?"}, "hybrid_override_pattern"),
        ({"kv_lora_rank": 8}, "qk_rope_head_dim"),
        ({"quantization_config": 3}, "quantization_config"),
        ({"per_layer_config": 3}, "per_layer_config"),
        ({"num_kv_shared_layers": 9}, "num_kv_shared_layers"),
    ],
)
def test_a_bad_field_is_named(changes, field):
    with pytest.raises(ModelError, match=field) as caught:
        described(**changes)
    assert "config.json" in caught.value.what
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("architectures", "says"),
    [
        (None, "names no architecture"),
        ([], "names no architecture"),
        ("LlamaForCausalLM", "names no architecture"),
        (["BertForMaskedLM"], "does not know the architecture BertForMaskedLM"),
        (["LlamaForSequenceClassification"], "does not know the architecture"),
    ],
)
def test_what_is_no_text_generator(architectures, says):
    with pytest.raises(ModelError, match=says):
        described(architectures=architectures)


def test_an_encoder_decoder_is_refused():
    with pytest.raises(ModelError, match="encoder-decoder"):
        described(architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True)


def test_code_of_the_models_own_is_said_and_not_run():
    (note,) = described(auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"}).notes
    assert "never runs it" in note
    assert described().notes == ()


def test_missing_huge_and_broken_files(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        read_config(tmp_path / "config.json")
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(ModelError, match="no valid JSON"):
        read_config(path)
    path.write_text("[1]")
    with pytest.raises(ModelError, match="no JSON object"):
        read_config(path)
    path.write_text('{"a": "' + "x" * (10 << 20) + '"}')
    with pytest.raises(ModelError, match="10 MiB"):
        read_config(path)
    with pytest.raises(ModelError, match="no config"):
        parse_config(b" " * (MAX_CONFIG_BYTES + 1), "hub/config.json")
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelError, match="no regular file"):
        read_config(path)


def test_deeply_nested_json_is_a_sentence():
    with pytest.raises(ModelError):
        parse_config(b"[" * 100_000, "config.json")


fields = st.sampled_from(
    [*LLAMA, "head_dim", "layer_types", "sliding_window", "sliding_window_pattern", "text_config",
     "kv_lora_rank",
     "qk_rope_head_dim", "num_experts", "quantization_config", "hybrid_override_pattern", "attn_layer_period",
     "block_types", "ffn_config", "attn_config", "linear_attn_config", "per_layer_config", "multi_query",
     "mamba_d_state", "linear_num_value_heads", "attention_chunk_size", "full_attention_interval",
     "lru_width",
     "num_kv_shared_layers", "cross_attention_layers", "moe_intermediate_size", "conv_L_cache", "auto_map"]
)  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 300)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["full_attention", "sliding_attention", "mamba", "M*", "LG", "llama", "gemma2", "auto"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(fields, values, max_size=5))
def test_any_config_gives_a_description_or_a_sentence(changes):
    try:
        model = described(**changes)
    except OperatorError as failure:
        assert failure.what
        assert "\n" not in failure.what
    else:
        assert len(model.attention) == model.layers > 0
        assert model.hidden_size > 0
        assert model.parameters >= 0
        assert all(layer.kv_heads >= 0 and layer.head_dim >= 0 for layer in model.attention)


@given(st.binary(max_size=200) | st.text(max_size=60).map(lambda text: json.dumps({text: text}).encode()))
def test_any_bytes_give_a_config_or_a_sentence(data):
    try:
        parse_config(data, "config.json")
    except OperatorError as failure:
        assert "config.json" in failure.what
