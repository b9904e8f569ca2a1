"""From transformers' modules, loaded, to our own decoder: the family says where each part is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fqconsole.generation.attention import HeadAttention, LatentAttention
from fqconsole.generation.decoder import CacheShape, Decoder, learned_positions
from fqconsole.generation.device import release
from fqconsole.generation.experts import Experts, ModuleStacks, PackedStacks, Routing
from fqconsole.generation.layers import Layer
from fqconsole.generation.mlp import Mlp
from fqconsole.generation.modules import PackedExperts
from fqconsole.generation.projections import Projection, fused_activation, pointwise, projection_of
from fqconsole.generation.stream import RowNorm
from fqconsole.models.families import Family, family_of
from kernels.routing import SWIGLU_SLOPE

SWIGLU_LIMIT = 7.0  # of gpt-oss, where its config doesn't say


def assemble(model: Any, dtype: torch.dtype, device: torch.device) -> Decoder | None:
    """The decoder that computes what `model` does; None where its family, or an option of it, is not known.

    16-bit weights that are joined here stay shared with the modules.
    """
    family = family_of(model.config)
    config = model.config.get_text_config()
    if family is None:
        return None
    body = model.get_submodule(family.body)
    builder = _Builder(family, config, device)
    modules = list(getattr(body, family.layers))
    layers = []
    for index, module in enumerate(modules):
        layers.append(builder.layer(index, module))
        release(device)  # what was joined lay apart: torch can't put the next layer into such gaps
    embedding = getattr(body, family.embedding)
    scaled = family.scaled_embedding and not hasattr(embedding, "embed_scale")
    positions = getattr(body, family.positions) if family.positions else None
    return Decoder(
        embed=embedding,
        embedding_scale=torch.tensor(config.hidden_size**0.5, dtype=dtype, device=device) if scaled else None,
        positions=None if positions is None else learned_positions(positions, family.first_position),
        widen=_optional(body, family.widen),
        layers=_in_a_row(layers),
        last_norm=builder.norm(body, family.last_norm),
        narrow=_optional(body, family.narrow),
        head=projection_of([model.get_output_embeddings()]),
        logit_softcap=getattr(config, "final_logit_softcapping", None),
        cache_shapes=tuple(builder.cache_shape(getattr(module, family.attention)) for module in modules),
        rotary_source=getattr(body, "rotary_emb", None) if family.rotary != "none" else None,
        dtype=dtype,
        device=device,
    )


def _in_a_row(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers, each told of the norm that the one after it begins with."""
    norms = [*(layer.first_norm for layer in layers[1:]), None]
    return tuple(replace(layer, following=norm) for layer, norm in zip(layers, norms, strict=True))


def _optional(body: Any, name: str) -> Projection | None:
    module = getattr(body, name, None) if name else None
    return None if module is None else projection_of([module])


class _Builder:
    """Builds the layers of one model."""

    def __init__(self, family: Family, config: Any, device: torch.device) -> None:
        self.family = family
        self.config = config
        self.fused = device.type == "cuda"
        name = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
        self.activation = str(name or getattr(config, "activation_function", None) or "gelu_new")

    def layer(self, index: int, module: Any) -> Layer:
        family = self.family
        attention = getattr(module, family.attention)
        feed = getattr(module, family.mlp) if family.mlp else module
        return Layer(
            name=f"layer {index}",
            attention=self.latent(attention) if family.latent else self.heads(attention, index),
            feed=self.experts(feed) if hasattr(feed, "experts") else self.mlp(feed),
            before_attention=self.norm(module, family.before_attention),
            after_attention=self.norm(module, family.after_attention),
            before_feed=self.norm(module, family.before_mlp),
            after_feed=self.norm(module, family.after_mlp),
            norm_last=not getattr(self.config, "do_layer_norm_before", True),
            fused=self.fused,
        )

    def norm(self, owner: Any, name: str) -> RowNorm | None:
        module = getattr(owner, name, None) if name else None
        return None if module is None else self.norm_of(module)

    def norm_of(self, module: Any) -> RowNorm:
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", 1e-5))
        if self.family.norm == "rms_from_one":
            return RowNorm(1.0 + module.weight.float(), None, float(eps), "rms_once")
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        return RowNorm(weight, bias, float(eps), self.family.norm)

    def heads(self, module: Any, index: int) -> HeadAttention:
        family, config = self.family, self.config
        heads = int(config.num_attention_heads)
        head_dim = _head_dim(config)
        sinks = getattr(module, "sinks", None)
        return HeadAttention(
            first=projection_of([getattr(module, name) for name in family.qkv]),
            last=projection_of([getattr(module, family.output)]),
            heads=heads,
            kv_heads=_kv_heads(config),
            head_dim=head_dim,
            scale=float(module.scaling),
            turns=None if family.rotary == "none" else _layer_kind(config, index),
            interleaved=family.rotary == "pairs",
            window=_window(module, config, index),
            softcap=getattr(module, "attn_logit_softcapping", None),
            sinks=sinks,
            clip=getattr(config, "clip_qkv", None),
            q_norm=self.norm(module, "q_norm"),
            k_norm=self.norm(module, "k_norm"),
        )

    def latent(self, module: Any) -> LatentAttention:
        config = self.config
        widened = config.q_lora_rank is not None
        queries = module.q_a_proj if widened else module.q_proj
        up = module.kv_b_proj.weight.unflatten(0, (int(config.num_attention_heads), -1))
        up_keys, up_values = up.split((config.qk_nope_head_dim, config.v_head_dim), dim=1)
        return LatentAttention(
            first=projection_of([queries, module.kv_a_proj_with_mqa]),
            last=projection_of([module.o_proj]),
            widen=(self.norm_of(module.q_a_layernorm), projection_of([module.q_b_proj])) if widened else None,
            latent_norm=self.norm_of(module.kv_a_layernorm),
            up_keys=up_keys,
            up_values=up_values,
            heads=int(config.num_attention_heads),
            rotary_dim=int(config.qk_rope_head_dim),
            scale=float(module.scaling),
            interleaved=self.family.rotary == "pairs" and bool(getattr(config, "rope_interleave", True)),
        )

    def mlp(self, module: Any) -> Mlp:
        family = self.family
        return Mlp(
            first=projection_of([getattr(module, name) for name in family.rising]),
            last=projection_of([getattr(module, family.falling)]),
            activation=fused_activation(self.activation) if family.gated else None,
            pointwise=pointwise(self.activation),
            gated=family.gated,
        )

    def experts(self, module: Any) -> Experts:
        family = self.family
        router = getattr(module, family.router)
        shared = getattr(module, family.shared, None) if family.shared else None
        gate = getattr(module, family.shared_gate, None) if family.shared_gate else None
        return Experts(
            routing=self.routing(router),
            stacks=self.stacks(module.experts),
            shared=None if shared is None else self.mlp(shared),
            shared_gate=None if gate is None else projection_of([gate]),
        )

    def routing(self, router: Any) -> Routing:
        kind, config = self.family.routing, self.config
        deepseek = kind in ("softmax in groups", "sigmoid in groups")
        grouped = kind == "sigmoid in groups" or getattr(config, "topk_method", "") == "group_limited_greedy"
        stated = bool(getattr(config, "norm_topk_prob", False)) and kind != "softmax in groups"
        return Routing(
            kind="sigmoid" if kind == "sigmoid in groups" else "softmax",
            weight=router.weight,
            bias=getattr(router, "bias", None),
            wide=deepseek,
            k=int(config.num_experts_per_tok),
            normalized=stated or self.family.normalized or kind == "softmax of the chosen",
            scale=float(config.routed_scaling_factor) if deepseek else 1.0,
            groups=int(config.n_group or 1) if deepseek and grouped else 1,
            kept_groups=int(config.topk_group or 1) if deepseek and grouped else 1,
            correction=getattr(router, "e_score_correction_bias", None),
        )

    def stacks(self, experts: Any) -> PackedStacks | ModuleStacks:
        """The kernels' own way where they know the gate and gate and up are one stack."""
        clamped = self.config.model_type == "gpt_oss"
        activation = None if clamped else fused_activation(self.activation)
        known = (
            float(getattr(self.config, "swiglu_alpha", SWIGLU_SLOPE)) == SWIGLU_SLOPE
            if clamped
            else activation
        )
        if not known or not isinstance(experts, PackedExperts) or len(experts.rising) > 1:
            return ModuleStacks(experts)
        return PackedStacks(
            rising=experts.rising[0],
            falling=experts.falling,
            rising_bias=experts.gate_up_proj_bias,
            falling_bias=experts.down_proj_bias,
            work_dtype=experts.work_dtype,
            activation=activation,
            limit=float(getattr(self.config, "swiglu_limit", SWIGLU_LIMIT)) if clamped else None,
        )

    def cache_shape(self, attention: Any) -> CacheShape:
        config = self.config
        if self.family.latent:
            latent = int(config.kv_lora_rank)
            return CacheShape(1, latent + int(config.qk_rope_head_dim), latent, latent=latent)
        dim = _head_dim(config)
        index = int(attention.layer_idx)
        return CacheShape(_kv_heads(config), dim, dim, window=_window(attention, config, index))


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _kv_heads(config: Any) -> int:
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def _layer_kind(config: Any, index: int) -> str:
    kinds = getattr(config, "layer_types", None)
    return kinds[index] if kinds else ""


def _window(attention: Any, config: Any, index: int) -> int | None:
    """Tokens that a layer sees; None: all."""
    kinds = getattr(config, "layer_types", None)
    if kinds and kinds[index] != "sliding_attention":
        return None
    found = getattr(config, "sliding_window", None)
    if found is None or not getattr(config, "use_sliding_window", True):
        return None
    return int(found)
