"""Families without experts."""

from fqconsole.generation.families.family import Family

LLAMA = Family(("llama", "mistral", "qwen2", "qwen3"))
GEMMA = Family(("gemma",), norm="rms_from_one", scaled_embedding=True)
GEMMA_2 = Family(
    ("gemma2", "gemma3_text"),
    norm="rms_from_one",
    scaled_embedding=True,
    after_attention="post_attention_layernorm",
    before_mlp="pre_feedforward_layernorm",
    after_mlp="post_feedforward_layernorm",
)
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

DENSE = (LLAMA, GEMMA, GEMMA_2, PHI_3, OLMO, OLMO_2, GLM, GLM_4, OPT, GPT_2)
