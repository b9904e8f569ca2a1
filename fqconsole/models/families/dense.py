"""Families without experts."""

from dataclasses import replace

from fqconsole.models.families.family import Family

LLAMA = Family(("llama", "mistral", "qwen2", "qwen3", "seed_oss"))
LLAMA_WITH_IMAGES = replace(LLAMA, model_types=("llava", "mistral3"), body="model.language_model")
ERNIE = Family(("ernie4_5",), rotary="pairs")
STARCODER_2 = Family(("starcoder2",), norm="layer", rising=("c_fc",), falling="c_proj", gated=False)
GEMMA = Family(("gemma",), norm="rms_from_one", scaled_embedding=True)
GEMMA_2 = Family(
    ("gemma2", "gemma3_text"),
    norm="rms_from_one",
    scaled_embedding=True,
    after_attention="post_attention_layernorm",
    before_mlp="pre_feedforward_layernorm",
    after_mlp="post_feedforward_layernorm",
)
GEMMA_3_WITH_IMAGES = replace(GEMMA_2, model_types=("gemma3",), body="model.language_model")
PHI_3 = Family(("phi3",), qkv=("qkv_proj",), rising=("gate_up_proj",))
OLMO = Family(("olmo",), norm="layer")
OLMO_2 = Family(
    ("olmo2", "olmo3"),
    norm="rms_once",
    before_attention="",
    after_attention="post_attention_layernorm",
    before_mlp="",
    after_mlp="post_feedforward_layernorm",
)
GLM = Family(("glm",), rotary="pairs", rising=("gate_up_proj",))
GLM_4 = Family(
    ("glm4",),
    rotary="pairs",
    rising=("gate_up_proj",),
    after_attention="post_self_attn_layernorm",
    after_mlp="post_mlp_layernorm",
)
OPT = Family(
    ("opt",),
    body="model.decoder",
    positions="embed_positions",
    first_position=2,
    widen="project_in",
    narrow="project_out",
    last_norm="final_layer_norm",
    norm="layer",
    before_attention="self_attn_layer_norm",
    before_mlp="final_layer_norm",
    output="out_proj",
    rotary="none",
    mlp="",
    rising=("fc1",),
    falling="fc2",
    gated=False,
)
GPT_2 = Family(
    ("gpt2",),
    body="transformer",
    embedding="wte",
    positions="wpe",
    layers="h",
    last_norm="ln_f",
    norm="layer",
    before_attention="ln_1",
    before_mlp="ln_2",
    attention="attn",
    qkv=("c_attn",),
    output="c_proj",
    rotary="none",
    rising=("c_fc",),
    falling="c_proj",
    gated=False,
)

DENSE = (
    LLAMA, LLAMA_WITH_IMAGES, ERNIE, STARCODER_2, GEMMA, GEMMA_2, GEMMA_3_WITH_IMAGES, PHI_3, OLMO, OLMO_2,
    GLM, GLM_4, OPT, GPT_2,
)  # fmt: skip
