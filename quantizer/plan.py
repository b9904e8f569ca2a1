"""The plan: one frozen data object that drives preview, dry run, run, resume and export."""

import hashlib
import math
from typing import Literal

import msgspec

from quantizer.methods import Methods
from quantizer.scheme import WIDTHS, Scheme, stored_bytes

# matrix: adaptive without fused sets, for study; planned: bits and groups by what the operator wants
Granularity = Literal["adaptive", "fixed", "matrix", "planned"]
# model: the routed experts of all layers share one scheme, as transformers reads them; layer: of each layer
ExpertSets = Literal["model", "layer"]


class MatrixPlan(msgspec.Struct, frozen=True):
    """What will be done with one matrix `[N, K]`, or with the stack `[E, N, K]` of one layer's experts."""

    name: str  # module name without ".weight"; of a stack: "model.layers.0.mlp.experts.gate_proj"
    tensors: tuple[str, ...]  # source tensors; of a stack one per expert in order, or the one 3-D tensor
    shape: tuple[int, ...]
    layer: int | None
    kind: str  # last part of the name: "q_proj", "down_proj", ...
    fused_set: str  # matrices with the same word share one scheme
    scheme: Scheme
    # r(g) by group word: predicted fall in rounding noise per halving of groups of g
    statistic: dict[str, float] = {}
    reason: str = ""
    first_row: int = 0  # where this matrix starts in each expert of a 3-D source tensor (gate | up)
    transposed: bool = False  # the source stores [K, N], or [E, K, N]
    predicted_loss: float | None = None  # its share in the loss of a planned plan

    @property
    def bytes(self) -> int:
        return stored_bytes(self.shape, self.scheme)

    @property
    def weights(self) -> int:
        return math.prod(self.shape)


class KeptTensor(msgspec.Struct, frozen=True):
    """A tensor that stays as it is, and why."""

    name: str
    shape: tuple[int, ...]
    bytes: int
    reason: str  # "embedding", "norm", "router", "lm_head", "bias", ...


class ChannelSet(msgspec.Struct, frozen=True):
    """Channels that leave a norm, or the rows of a matrix, and are read by the columns of other matrices.

    Where `factors` is set, channel c is divided by 2^(factors[c] / 8) at the producer and multiplied by it in
    the columns of the readers, before these are rounded: the 16-bit function stays what it was.
    """

    producer: str  # the norm's weight, or the name of a matrix
    readers: tuple[str, ...]  # matrices, by name
    of_rows: bool = False  # the producer is a matrix
    kept_readers: tuple[str, ...] = ()  # tensors kept in 16 bits that read the channels too: routers
    bias: str | None = None  # the producer's, kept in 16 bits
    offset: float = 0.0  # the norm multiplies by offset + weight
    head: int = 0  # of value rows: the width of a head ...
    repeat: int = 1  # ... and how many query heads in succession read each
    # int8 per channel of the producer: log2 of the factor, in eighths; empty: not balanced
    factors: bytes = b""
    # the same of the channels' predicted magnitudes, of rows only; a norm's weight tells its own
    magnitudes: bytes = b""
    reason: str = ""


class Plan(msgspec.Struct, frozen=True):
    """A scheme for every matrix of a model, and what is kept."""

    model: str
    revision: str | None
    bits: int  # of a planned plan those that most weights have
    granularity: Granularity
    group_size: int | None  # base group of an adaptive plan, the group of a fixed one
    threshold: float
    scale_dtype: str  # "bfloat16" or "float16"
    matrices: tuple[MatrixPlan, ...]
    kept: tuple[KeptTensor, ...]
    methods: Methods = Methods()
    channels: tuple[ChannelSet, ...] = ()
    version: int = 1
    target: str = ""  # what a planned plan was made for
    experts: ExpertSets = "model"
    head: int = 16  # bits of the output head
    widths: tuple[int, ...] = WIDTHS  # of a planned plan: what its matrices but the head may have


def predicted_bytes(plan: Plan) -> int:
    """Bytes of codes and scales over all quantized matrices."""
    return sum(matrix.bytes for matrix in plan.matrices)


def plan_bits_per_weight(plan: Plan) -> float:
    """Stored bits over weights of the quantized matrices, scales and padding included; 0 without matrices."""
    weights = sum(matrix.weights for matrix in plan.matrices)
    return predicted_bytes(plan) * 8 / weights if weights else 0.0


def model_bits_per_weight(plan: Plan) -> float:
    """Stored bits over all weights, the kept ones included; 0 for an empty plan. Weights that are stored
    twice, those of a tied head that is packed too, count once.
    """
    weights = own_weights(plan) + sum(math.prod(k.shape) for k in plan.kept)
    stored = predicted_bytes(plan) + sum(kept.bytes for kept in plan.kept)
    return stored * 8 / weights if weights else 0.0


def own_weights(plan: Plan) -> int:
    """Weights of all matrices but those that stay in 16 bits too: of a tied head."""
    kept = {tensor.name for tensor in plan.kept}
    return sum(matrix.weights for matrix in plan.matrices if not kept.issuperset(matrix.tensors))


def quantized_share(plan: Plan) -> float:
    """Share of the model's weights that the plan quantizes, 0 to 1."""
    quantized = own_weights(plan)
    weights = quantized + sum(math.prod(kept.shape) for kept in plan.kept)
    return quantized / weights if weights else 0.0


def without_channels(plan: Plan) -> Plan:
    """The plan without its numbers per channel, of which a large model has megabytes: for messages."""
    return msgspec.structs.replace(plan, channels=())


def plan_fingerprint(plan: Plan) -> str:
    """sha256 of the plan's JSON: two equal plans have the same word, on any machine."""
    return hashlib.sha256(msgspec.json.encode(plan, order="sorted")).hexdigest()
