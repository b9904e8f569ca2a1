"""How much a relative error of each matrix matters to the whole model, told from the weights alone.

The model of the loss is linear: loss ≈ Σ sensitivity · relative squared error (the linearity theorem of
HIGGS, Malinovskii et al., arXiv 2411.17525). What the rounding of a matrix does to the output is noise in
what its branch (attention, MLP) adds to the residual stream, and the last norm divides by the length of that
stream. So with E the mean square of what a branch adds and R that of the stream after it

    sensitivity ∝ part of the kind · ( E ÷ R_last  +  CARRIED · E ÷ R · (1 - R ÷ R_last) )

The second term is noise that later branches read and answer to. E follows from norms' gains and weights as if
all channels were independent: behind a norm inputs are as large as its gains, a matrix makes Σ h W² ÷ N of
them, a gate lets pass as much as its own size tells, and so on to what the branch adds. The experts that see
a token count as one MLP.

A tenth of all is shared out evenly, because no rule knows a model. Where the structure is not known (no norms
that name the inputs), every branch counts alike. The kinds' parts, CARRIED and MIXED are measured on the
built-in models by `python -m benchmarks.quality --sensitivity`, which prints what this rule says beside the
KL divergence that rounding each matrix alone causes.

The linear model holds for small errors. Where many matrices lose more than a fifth of their signal, or groups
with outliers lose all the rest, the loss grows faster; `felt` says how much.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from quantizer.measured import MatrixErrors
from quantizer.plan import MatrixPlan

# Kinds whose errors reach the residual stream in full, and what the others' come to beside them.
PARTS = {
    **dict.fromkeys(("q_proj", "k_proj", "query", "key", "wq", "wk"), 0.4),
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj", "w1", "w3", "wi_0", "wi_1", "fc1"), 0.2),
}
# Of the output head beside all others together: 1.8 and 2.8 (demo), 2.2 and 3.0 (demo-moe) at 8 and 4 bits.
HEAD_PART = 2.5
CARRIED = 0.05
EVEN = 0.1  # of all is shared out evenly among the branches: what a rule can't know of a model
MIXED = 0.15  # of the values' energy is left when attention has averaged them

LINEAR_UP_TO = 0.2  # there it is twice as much

ATTENTION_OUT = ("o_proj",)
VALUES = ("v_proj",)
MLP_OUT = ("down_proj", "w2")
UP, GATE = ("up_proj", "w3"), ("gate_proj", "w1")
MLP_KINDS = (*MLP_OUT, *UP, *GATE, "gate_up_proj", "fc1", "fc2", "wi_0", "wi_1", "wo", "c_fc", "c_proj")
GATE_POINTS = 64  # of the normal distribution, for the mean square behind a gate


def sensitivities(
    matrices: Sequence[MatrixPlan],
    measured: Mapping[str, MatrixErrors],
    embedding_square: float | None,
) -> dict[str, float]:
    """The share of each matrix or stack in the loss, by name; their sum is 1."""
    branches: dict[tuple[int, bool], list[MatrixPlan]] = defaultdict(list)
    for matrix in matrices:
        branches[matrix.layer or 0, is_mlp(matrix)].append(matrix)
    order = sorted(branches)
    energies = [_energy(branches[place], measured) for place in order]
    shares = _branch_shares(energies, embedding_square)
    raw = {
        matrix.name: share * PARTS.get(matrix.kind, 1.0) / _alike(branches[place], matrix)
        for place, share in zip(order, shares, strict=True)
        for matrix in branches[place]
    }
    total = sum(raw.values())
    return {name: value / total if total else 1 / len(raw) for name, value in raw.items()}


def felt(error: float) -> float:
    """What a relative squared error counts for: itself while it is small, e · (1 + (e ÷ 0.2)²) in general.

    Fitted to noise of 1 to 80 % added to the gates of seven layers of `demo` at once: KL divergence per error
    1, 1.2, 1.5, 2.8 and 29 times as large at 3, 10, 20, 40 and 80 %.
    """
    return error * (1 + (error / LINEAR_UP_TO) ** 2)


def is_mlp(matrix: MatrixPlan) -> bool:
    """Whether a matrix belongs to a layer's MLP or experts, not to attention or what stands for it."""
    words = matrix.name.split(".")
    if any(word in ("mlp", "experts", "block_sparse_moe", "feed_forward") for word in words):
        return True
    return matrix.kind in MLP_KINDS and not any("attn" in word or word == "attention" for word in words)


def _branch_shares(energies: Sequence[float | None], embedding_square: float | None) -> list[float]:
    """What an error of 1 in the last matrix of each branch comes to, in the order of the stream."""
    known = [energy for energy in energies if energy is not None]
    if embedding_square is None or len(known) < len(energies) or not all(energy > 0 for energy in known):
        return [1.0] * len(energies)
    last = embedding_square + math.fsum(known)
    shares, stream = [], embedding_square
    for energy in known:
        stream += energy
        shares.append(energy / last + CARRIED * energy / stream * (1 - stream / last))
    total = math.fsum(shares)
    return [(1 - EVEN) * share / total + EVEN / len(shares) for share in shares]


def _energy(branch: Sequence[MatrixPlan], measured: Mapping[str, MatrixErrors]) -> float | None:
    """Mean over tokens of the squared length of what a branch adds; None where its structure is not known."""
    found = 0.0
    for place in dict.fromkeys(matrix.name.rpartition(".")[0] for matrix in branch):
        members = {m.kind: m for m in branch if m.name.rpartition(".")[0] == place}
        added = _mlp_energy(members, measured) or _attention_energy(members, measured)
        if added is None:
            return None
        found += added
    return found


def _mlp_energy(members: Mapping[str, MatrixPlan], measured: Mapping[str, MatrixErrors]) -> float | None:
    down, up, gate = (_first(members, kinds) for kinds in (MLP_OUT, UP, GATE))
    if down is None or up is None or gate is None:
        return None
    rising, passing = _square(measured[up.name]), _square(measured[gate.name])
    if rising is None or passing is None:
        return None
    return down.shape[-2] * measured[down.name].gain * rising * _behind_gate(passing)


def _attention_energy(
    members: Mapping[str, MatrixPlan], measured: Mapping[str, MatrixErrors]
) -> float | None:
    out, values = _first(members, ATTENTION_OUT), _first(members, VALUES)
    square = None if values is None else _square(measured[values.name])
    if out is None or square is None:
        return None
    return out.shape[-2] * measured[out.name].gain * square * MIXED


def _first(members: Mapping[str, MatrixPlan], kinds: Sequence[str]) -> MatrixPlan | None:
    return next((members[kind] for kind in kinds if kind in members), None)


def _square(matrix: MatrixErrors) -> float | None:
    """Mean square of the outputs of a matrix that reads a norm."""
    return None if matrix.input_square is None else matrix.gain * matrix.input_square


def _behind_gate(square: float) -> float:
    """Mean of silu(x)² for normal x with this mean square: what a gate leaves of a product's energy."""
    total = weights = 0.0
    for index in range(GATE_POINTS):
        z = (index + 0.5) / GATE_POINTS * 8 - 4
        x, weight = z * math.sqrt(square), math.exp(-z * z / 2)
        silu = x / (1 + math.exp(-x)) if x > -60 else 0.0
        total += weight * silu * silu
        weights += weight
    return total / weights


def _alike(branch: Sequence[MatrixPlan], matrix: MatrixPlan) -> int:
    """Experts that could not be stacked stand in the plan one by one, and a token sees but few of them."""
    words = matrix.name.split(".")
    if len(matrix.shape) == 3 or "experts" not in words:
        return 1
    return sum(other.kind == matrix.kind and "experts" in other.name.split(".") for other in branch)
