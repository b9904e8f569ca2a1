"""The plan: one frozen data object that drives the preview, the dry run, the run, the resume and the export."""

from typing import Literal

import msgspec

from quantizer.scheme import Scheme, stored_bytes

Granularity = Literal["adaptive", "fixed", "matrix"]  # matrix: adaptive without fused sets, for study


class MatrixPlan(msgspec.Struct, frozen=True):
    """What will be done with one matrix `[N, K]`, or with the stack `[E, N, K]` of one layer's experts."""

    name: str  # module name without ".weight"; of a stack: "model.layers.0.mlp.experts.gate_proj"
    tensors: tuple[str, ...]  # source tensor names; of a stack one per expert, in expert order
    shape: tuple[int, ...]
    layer: int | None
    kind: str  # last part of the name: "q_proj", "down_proj", ...
    fused_set: str  # matrices with the same word share one scheme
    scheme: Scheme
    statistic: dict[
        str, float
    ] = {}  # r(g) by group word: predicted fall in rounding noise when groups g are halved
    reason: str = ""

    @property
    def bytes(self) -> int:
        return stored_bytes(self.shape, self.scheme)


class KeptTensor(msgspec.Struct, frozen=True):
    """A tensor that stays in 16 bits, and why."""

    name: str
    shape: tuple[int, ...]
    bytes: int
    reason: str  # "embedding", "norm", "router", "lm_head", "bias", "K=172 ...", ...


class Plan(msgspec.Struct, frozen=True):
    """A scheme for every matrix of a model, and what is kept."""

    model: str
    revision: str | None
    bits: int
    granularity: Granularity
    group_size: int | None  # base group of an adaptive plan, the group of a fixed one
    threshold: float
    scale_dtype: str  # "bfloat16" or "float16"
    matrices: tuple[MatrixPlan, ...]
    kept: tuple[KeptTensor, ...]
    version: int = 1
