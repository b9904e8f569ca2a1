"""Our own forward gives what transformers' forward gives, for a tiny random model of every family.

In float32, so that a difference is a mistake and not a rounding.
"""

from functools import cache

import pytest
import torch

from fqconsole.generation.assembly import assemble
from fqconsole.generation.passes import Chunk, Pass
from fqconsole.generation.static_cache import StaticCache
from fqconsole.jobs.tasks.describe import plain
from fqconsole.models.config import Config
from fqconsole.models.describe import known_forward
from fqconsole.models.families import FAMILIES, family_named, family_of
from tests.generation.architectures import ARCHITECTURES, LATENT, ROTARY, auto_class, tiny_config
from tests.generation.tiny_models import VOCAB

CPU = torch.device("cpu")
IDS = torch.randint(3, VOCAB, (40,), generator=torch.Generator().manual_seed(5))
LONG = ROTARY | {
    "rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0 + i for i in range(8)],
    "original_max_position_embeddings": 30,
}  # fmt: skip
YARN = ROTARY | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
# What the plain tiny model of the family doesn't have; windows are shorter than the text.
VARIANTS = {
    "mistral, window": ("mistral", {"sliding_window": 8}),
    "qwen2, window in one layer": ("qwen2", {
        "sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1}),
    "gemma2, window": ("gemma2", {"sliding_window": 8}),
    "gemma3, window": ("gemma3_text", {"sliding_window": 8}),
    "gpt_oss, window": ("gpt_oss", {"sliding_window": 8}),
    "olmo3, window": ("olmo3", {"sliding_window": 8}),
    "llama, biases and tied": ("llama", {
        "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "opt 350M": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 32}),
    "opt without biases": ("opt", {"layer_norm_elementwise_affine": False, "enable_bias": False}),
    "phi3, part of a head turned": ("phi3", {"partial_rotary_factor": 0.5, "sliding_window": 8}),
    "phi3, long": ("phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 30}),
    "qwen2_moe, dense layer": ("qwen2_moe", {"mlp_only_layers": [0], "norm_topk_prob": True}),
    "deepseek_v2, groups": ("deepseek_v2", LATENT | {
        "n_group": 2, "topk_method": "group_limited_greedy", "routed_scaling_factor": 2.0}),
    "deepseek_v3, groups": ("deepseek_v3", LATENT | {"n_group": 2, "n_routed_experts": 8}),
    "deepseek_v3, no latent of queries": ("deepseek_v3", LATENT | {
        "q_lora_rank": None, "rope_interleave": False}),
    "qwen3, wide heads": ("qwen3", {"head_dim": 32, "num_key_value_heads": 1, "attention_bias": True}),
    "gemma3, wide heads": ("gemma3_text", {"head_dim": 32, "query_pre_attn_scalar": 20}),
    "gpt_oss, wide heads": ("gpt_oss", {"head_dim": 32, "num_key_value_heads": 4}),
    "mistral, every head its keys": ("mistral", {"num_key_value_heads": 4, "head_dim": 8}),
    "llama 3.1": ("llama", {"rope_parameters": ROTARY | {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}}),
    "qwen2, yarn": ("qwen2", {"rope_parameters": YARN}),
    "deepseek_v2, yarn": ("deepseek_v2", LATENT | {"rope_parameters": YARN | {"mscale_all_dim": 0.7}}),
    "deepseek_v3, widths of their own": ("deepseek_v3", LATENT | {
        "rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}, "qk_nope_head_dim": 20,
        "v_head_dim": 24, "kv_lora_rank": 12, "qk_rope_head_dim": 8, "head_dim": 8}),
    "qwen3_moe, dense layers between": ("qwen3_moe", {"decoder_sparse_step": 2, "norm_topk_prob": True}),
    "mixtral, one expert": ("mixtral", {"num_experts_per_tok": 1}),
    "gpt2, scaled by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    "olmo, clipped": ("olmo", {"clip_qkv": 0.5}),
}  # fmt: skip
PLAIN = {name: (name, {}) for family in FAMILIES for name in family.model_types}
CASES = PLAIN | VARIANTS


@cache
def tiny_model(case):
    """A model with weights and norms large enough for its logits to differ."""
    model_type, more = CASES[case]
    config = tiny_config(model_type)
    if more:
        config = type(config)(**{**config.to_diff_dict(), **more})
    torch.manual_seed(0)
    model = auto_class(model_type).from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.mul_(3)
            elif name.endswith("bias") or "sinks" in name:
                weight.normal_(std=0.2)
            else:
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


@pytest.mark.parametrize("case", CASES)
def test_a_prompt_in_pieces_and_steps_give_the_logits_of_transformers(case):
    model = tiny_model(case)
    with torch.inference_mode():
        expected = model(IDS[None], use_cache=False).logits[0]
        decoder = assemble(model, torch.float32, CPU)
        again = model(IDS[None], use_cache=False).logits[0]
        cache = StaticCache(decoder, 2, 64)
        cache.rotary.fit(len(IDS))
        found = []
        for start, end in ((0, 11), (11, 29)):
            tokens = Pass.of_chunks((Chunk(0, start, end - start),), cache.rotary, CPU)
            found.append(decoder.logits(decoder.hidden(IDS[start:end], tokens, cache.layers)))
        for position in range(29, len(IDS)):
            tokens = Pass.of_step(torch.tensor([position]), cache.rotary)
            found.append(decoder.logits(decoder.hidden(IDS[position, None], tokens, cache.layers)))
    assert (torch.cat(found) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (
        again - expected
    ).abs().max() < 1e-5 * expected.abs().max()  # its weights, joined, are still its own
    assert expected.std(dim=0).mean() > 0.01  # it looks at its text


@pytest.mark.parametrize("case", [*CASES, *ARCHITECTURES])
def test_a_config_file_tells_the_forward_that_a_session_takes(case):
    """What is known before torch is loaded, for the preview, is what the loader decides."""
    config = tiny_model(case).config if case in CASES else tiny_config(case)
    assert family_named(known_forward(Config(plain(config.to_dict())))) is family_of(config)
    assert family_of(config) is not None or case not in CASES


@pytest.mark.parametrize(
    ("model_type", "option"),
    [
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
        ("llama", {"rope_parameters": ROTARY | {"rope_type": "dynamic", "factor": 2.0}}),
        ("olmoe", {"clip_qkv": 8.0}),
        ("gemma3_text", {"use_bidirectional_attention": True}),
        ("gpt2", {"add_cross_attention": True}),
    ],
)
def test_options_that_ours_does_not_compute_run_through_transformers(model_type, option):
    assert known_forward(Config({"model_type": model_type})) == model_type
    assert known_forward(Config({"model_type": model_type, **option})) == ""
