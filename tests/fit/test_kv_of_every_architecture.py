"""The formula against the cache of every architecture that sessions are tested with."""

import json
from inspect import signature

import pytest
import torch
import transformers

from fqconsole.fit.kv import layer_bytes
from fqconsole.models.attention import read_attention
from fqconsole.models.config import Config
from tests.fit.test_kv_against_transformers import BATCH, TOKENS, stored_bytes
from tests.generation.architectures import ARCHITECTURES, auto_class, tiny_config

# Those whose cache is not to be seen: openai-gpt keeps none, and so what is computed is too much.
APART = {
    "openai-gpt": "it keeps no cache at all: what is computed is an upper bound",
    "minimax": "its cache is of a class of its own",
    "recurrent_gemma": "its recurrent states lie in the modules",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_the_cache_of_every_architecture_that_is_tried(model_type):
    """The 88 that sessions are tested with, each with the sizes of its class beside the tiny ones."""
    if model_type in APART:
        pytest.skip(APART[model_type])
    config = tiny_config(model_type)
    attention = read_attention(Config(json.loads(config.to_json_string())), config.num_hidden_layers)
    model = auto_class(model_type).from_config(config).eval()
    cache = transformers.DynamicCache(config=config)
    word = "cache_params" if "cache_params" in signature(model.forward).parameters else "past_key_values"
    with torch.no_grad():
        model(torch.full((BATCH, TOKENS), 3), use_cache=True, **{word: cache})
    held = [stored_bytes(torch, layer) for layer in cache.layers]
    assert [layer_bytes(layer, TOKENS, BATCH, 4) for layer in attention] == held
