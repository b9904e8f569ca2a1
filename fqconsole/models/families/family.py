"""What our own forward must know of a family of models: where transformers puts its parts, and how they join.

Sizes, scalings, windows and activations are read from the built modules and the config; what stands here is
only what neither of them says.
"""

from dataclasses import dataclass
from typing import Literal

NormKind = Literal["rms", "rms_once", "rms_from_one", "layer"]  # as in kernels.norms; from one: weight 1 + w
Rotary = Literal["halves", "pairs", "none"]  # which two of a head's dimensions turn together
Routing = Literal["softmax", "softmax of the chosen", "softmax in groups", "sigmoid in groups"]


@dataclass(frozen=True)
class Family:
    """Names of modules as transformers has them; an empty name: the family has no such part."""

    model_types: tuple[str, ...]
    body: str = "model"
    embedding: str = "embed_tokens"
    scaled_embedding: bool = False  # times sqrt(hidden size), where the embedding doesn't do so itself
    positions: str = ""  # learned positions
    first_position: int = 0  # row of the first token's
    widen: str = ""
    narrow: str = ""
    layers: str = "layers"
    last_norm: str = "norm"
    norm: NormKind = "rms"
    before_attention: str = "input_layernorm"
    after_attention: str = ""
    before_mlp: str = "post_attention_layernorm"
    after_mlp: str = ""
    attention: str = "self_attn"
    qkv: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    output: str = "o_proj"
    rotary: Rotary = "halves"
    latent: bool = False  # DeepSeek's attention: keys and values come from one small vector a token
    mlp: str = "mlp"
    rising: tuple[str, ...] = ("gate_proj", "up_proj")
    falling: str = "down_proj"
    gated: bool = True
    router: str = "gate"
    routing: Routing = "softmax"
    normalized: bool = False  # the chosen experts' weights sum to one whatever the config says
    shared: str = ""
    shared_gate: str = ""

    @property
    def held_whole(self) -> tuple[str, ...]:
        """Matrices whose 16-bit form the forward multiplies with, from either side."""
        return ("kv_b_proj",) if self.latent else ()

    @property
    def joined(self) -> tuple[tuple[str, ...], ...]:
        """Matrices that meet the same input: one product where their schemes agree."""
        latent = tuple((name, "kv_a_proj_with_mqa") for name in ("q_a_proj", "q_proj")) if self.latent else ()
        return tuple(names for names in (self.qkv, self.rising, *latent) if len(names) > 1)
