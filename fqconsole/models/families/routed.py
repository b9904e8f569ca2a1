"""Families with routed experts."""

from dataclasses import replace

from fqconsole.models.families.dense import OLMO_2
from fqconsole.models.families.family import Family

MIXTRAL = Family(("mixtral",), routing="softmax", normalized=True)
QWEN_MOE = Family(("qwen3_moe", "olmoe"), routing="softmax")
QWEN_2_MOE = replace(
    QWEN_MOE, model_types=("qwen2_moe",), shared="shared_expert", shared_gate="shared_expert_gate"
)
GPT_OSS = Family(("gpt_oss",), norm="rms_once", router="router", routing="softmax of the chosen")
DEEPSEEK_V2 = Family(
    ("deepseek_v2",), rotary="pairs", latent=True, routing="softmax in groups", shared="shared_experts"
)
DEEPSEEK_V3 = replace(DEEPSEEK_V2, model_types=("deepseek_v3", "glm4_moe_lite"), routing="sigmoid in groups")
GLM_4_MOE = replace(DEEPSEEK_V3, model_types=("glm4_moe", "dots1"), latent=False, rotary="halves")
FLEX_OLMO = replace(OLMO_2, model_types=("flex_olmo",))

ROUTED = (MIXTRAL, QWEN_MOE, QWEN_2_MOE, GPT_OSS, DEEPSEEK_V2, DEEPSEEK_V3, GLM_4_MOE, FLEX_OLMO)
