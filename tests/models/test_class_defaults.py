"""The defaults written down here are the ones that the classes of transformers have."""

import pytest

from fqconsole.models.class_defaults import CLASS_DEFAULTS

# Fields of old config files that today's classes read and keep under another name.
RENAMED = {"sliding_window_pattern", "multi_query", "full_attention_interval"}
# Families that never wrote their training length: the number is the published one.
UNWRITTEN = {("bloom", "max_position_embeddings"), ("recurrent_gemma", "max_position_embeddings"),
             ("mamba", "max_position_embeddings"), ("mamba2", "max_position_embeddings"),
             ("falcon_mamba", "max_position_embeddings")}  # fmt: skip


@pytest.mark.slow
def test_they_are_the_classes_own():
    mapping = pytest.importorskip("transformers").CONFIG_MAPPING
    checked = 0
    for model_type, fields in CLASS_DEFAULTS.items():
        config = mapping[model_type]()
        for name, value in fields.items():
            if name in RENAMED or (model_type, name) in UNWRITTEN:
                continue
            assert getattr(config, name) == value, (model_type, name)
            checked += 1
    assert checked > 12
