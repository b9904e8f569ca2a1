"""Models that lie nowhere, by config.json alone: and a sentence for whatever is wrong."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fqconsole.errors import OperatorError
from fqconsole.fit import Capacity, preview
from fqconsole.models import ModelError
from fqconsole.models.bare_config import (
    ClassShapes,
    cached_shapes,
    describe_bare,
    keep_shapes,
    read_bare,
)
from fqconsole.models.config import Config
from fqconsole.models.describe import build
from fqconsole.models.description import ModelEntry, TensorInfo

GIB = 1 << 30
ENTRY = ModelEntry("x", "config", None)
GPU = Capacity("a GPU", 80 * GIB, 79 * GIB, "gpu", bandwidth_per_gpu=(10**12,))
SHAPES = ClassShapes(
    {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 1,
     "num_attention_heads": 4, "vocab_size": 9, "max_position_embeddings": 64},
    (TensorInfo("model.layers.0.mlp.up_proj.weight", "BF16", (96, 64), "", 0, 12288),),
)  # fmt: skip


def test_shapes_are_cached_by_the_configs_content(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "llama", "hidden_size": 64}')
    config = read_bare(path)
    assert cached_shapes(config) is None
    keep_shapes(config, SHAPES)
    assert cached_shapes(config) == SHAPES
    path.write_text('{ "hidden_size": 64, "model_type": "llama" }')
    assert cached_shapes(read_bare(path)) == SHAPES
    path.write_text('{"model_type": "llama", "hidden_size": 65}')
    assert cached_shapes(read_bare(path)) is None
    assert describe_bare(config, SHAPES).id == tmp_path.name


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{}", "model_type"),
        ('{"model_type": 3}', "model_type"),
        ("[]", "no JSON object"),
        ("{", "no valid JSON"),
        ('{"a": "' + "x" * (10 << 20) + '"}', "10 MiB"),
    ],
)
def test_a_config_that_no_worker_needs_to_see(tmp_path, written, says):
    path = tmp_path / "some.json"
    path.write_text(written)
    with pytest.raises(ModelError, match=says):
        read_bare(path)
    with pytest.raises(ModelError, match="has no config"):
        read_bare(tmp_path / "missing.json")


FIELDS = st.sampled_from(
    [*SHAPES.config, "num_key_value_heads", "head_dim", "layer_types", "sliding_window", "kv_lora_rank",
     "qk_rope_head_dim", "num_experts", "num_experts_per_tok", "moe_intermediate_size", "mamba_d_state",
     "intermediate_size", "tie_word_embeddings", "attention_chunk_size", "full_attention_interval",
     "v_head_dim"]
)  # fmt: skip
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 5000)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["full_attention", "telepathy", ""])
    | st.lists(st.sampled_from(["full_attention", "sliding_attention", "telepathy", 1]), max_size=2)
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(FIELDS, VALUES, max_size=4))
def test_any_config_gives_a_preview_or_a_sentence(changes):
    """Missing fields, negative sizes, unknown attention: whatever is described can be previewed too."""
    fields = {**SHAPES.config, **changes}
    fields = {name: value for name, value in fields.items() if value is not None}
    try:
        model = build(
            Config(fields),
            SHAPES.tensors,
            entry=ModelEntry("x", "config", None),
            manifest=None,
            license=None,
        )
    except OperatorError as failure:
        assert "\n" not in failure.what
        assert failure.next_step
        return
    began = time.process_time()
    found = preview(model, GPU)
    assert time.process_time() - began < 2  # ten thousand layers at most
    for option in found.options:
        assert option.total_bytes_per_gpu >= option.runtime_bytes > 0
        assert option.step_bytes >= 0
