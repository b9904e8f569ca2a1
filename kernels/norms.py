"""Norms of the residual stream, with the addition before them in the same launch.

    sum = residual + x              normed = norm(sum)
    with `before`:  sum = residual + rms(x) * before        (Gemma, OLMo 2: a norm on both sides of a block)

    rms        round(round(x / sqrt(mean(x²) + eps)) * weight)         Llama, Qwen, Mistral
    rms_once   round(x / sqrt(mean(x²) + eps) * weight)                Gemma (weight: 1 + w), OLMo 2, gpt-oss
    layer      round((x - mean) / sqrt(var + eps) * weight + bias)     OPT, GPT-2, OLMo (no weight)

Means, roots and products in float32; rounding to x's dtype where transformers' modules round, the sum too.
"""

from typing import Literal

from torch import Tensor
from torch.nn import functional

from kernels.device import runs_triton

NormKind = Literal["rms", "rms_once", "layer"]
NORM_KINDS: tuple[NormKind, ...] = ("rms", "rms_once", "layer")


def norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None = None,
    *,
    eps: float,
    kind: NormKind = "rms",
    residual: Tensor | None = None,
    before: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """x `[..., K]` → (normed, sum), both `[..., K]` in x's dtype; without residual and `before` the sum is x.

    `weight` and `bias` `[K]` of any float dtype. `before` `[K]` is the weight of the norm on x alone (of the
    same kind, rms or rms_once). weight None: with "layer" no product, with `before` no second norm, and
    normed is the sum. Raises ValueError where shapes do not belong together.
    """
    width = x.shape[-1:]
    if any(part is not None and part.shape != width for part in (weight, bias, before)):
        raise ValueError(f"a norm over {x.shape[-1]} features needs as many weights")
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"residual {list(residual.shape)} must be {list(x.shape)}")
    if kind not in NORM_KINDS or (weight is None and kind != "layer" and before is None):
        raise ValueError(f"a norm of kind {kind} needs a weight")
    if runs_triton(x.device):
        from kernels.norms_kernel import norm_on_gpu

        return norm_on_gpu(x, weight, bias, eps=eps, kind=kind, residual=residual, before=before)
    return norm_plain(x, weight, bias, eps=eps, kind=kind, residual=residual, before=before)


def norm_plain(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None = None,
    *,
    eps: float,
    kind: NormKind = "rms",
    residual: Tensor | None = None,
    before: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same in plain torch."""
    if before is not None:
        x = normed_rows(x, before, None, eps, kind)
    total = x if residual is None else x + residual
    if weight is None and kind != "layer":
        return total, total
    return normed_rows(total, weight, bias, eps, kind), total


def normed_rows(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, kind: NormKind) -> Tensor:
    """One norm of the rows of x."""
    width = x.shape[-1:]
    if kind == "rms" and weight is not None:
        return functional.rms_norm(x, width, None, eps) * weight.to(x.dtype)
    wide = None if weight is None else weight.float()
    if kind == "layer":
        shift = None if bias is None else bias.float()
        return functional.layer_norm(x.float(), width, wide, shift, eps).to(x.dtype)
    return functional.rms_norm(x.float(), width, wide, eps).to(x.dtype)
