"""The plan before the weights are read: what the fit preview shows and the analysis starts from."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from fqconsole.errors import UsageError
from fqconsole.models.description import ModelDescription
from quantizer.head import HEAD_BITS, with_head
from quantizer.ladder import (
    DEFAULT_THRESHOLD,
    FIXED_MODES,
    RUNGS,
    adaptive_rungs,
    base_group,
    start_rung,
    undivided,
)
from quantizer.matrices import EXPERTS_SET, Candidate, experts_place, plan_matrices
from quantizer.methods import DEFAULT_MODE, MODES, Methods
from quantizer.plan import ExpertSets, Granularity, MatrixPlan, Plan
from quantizer.scheme import BITS, WIDTHS, Scheme, group_word

GroupSize = int | None | Literal["default"]
GRANULARITIES: tuple[Granularity, ...] = ("adaptive", "fixed", "matrix")
EXPERT_SETS: tuple[ExpertSets, ...] = ("model", "layer")


def base_plan(
    description: ModelDescription,
    bits: int,
    granularity: Granularity = "adaptive",
    group_size: GroupSize = "default",
    threshold: float = DEFAULT_THRESHOLD,
    *,
    methods: Methods = MODES[DEFAULT_MODE],
    experts: ExpertSets = "model",
    head: int = 16,
) -> Plan:
    """The plan as names and shapes tell it: exact for `fixed`, the smallest an adaptive plan can come to.

    `group_size` is the group of a fixed plan or the base of an adaptive one; None is `channel`, "default"
    the base of the bits. `experts` says whether the routed experts of all layers share a scheme, or those of
    each layer; `head` in how many bits the output head is, its groups as those of a matrix in these bits. A
    model without matrices gives a plan without matrices. Raises UsageError for bits, group sizes,
    granularities and sets of experts that don't exist, and for a head that can't be quantized.
    """
    require_expert_sets(experts)
    require_head_bits(head)
    base = requested_group(bits, granularity, group_size)
    inventory = plan_matrices(description)
    if head != HEAD_BITS[0]:
        inventory = with_head(description, inventory)
    sets: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in inventory.matrices:
        sets[set_word(candidate, granularity, experts)].append(candidate)
    schemes: dict[str, tuple[Scheme, str]] = {}
    for word, members in sets.items():
        ks = [member.shape[-1] for member in members]
        width = bits if members[0].layer is not None else head
        first = base_of(width, bits, base)
        start = start_rung(first, RUNGS if granularity == "fixed" else adaptive_rungs(width, first), ks)
        reason = undivided(first, start, ks) or f"{granularity}: {group_word(start)}"
        schemes[word] = Scheme(width, start), reason
    matrices = []
    for candidate in inventory.matrices:
        word = set_word(candidate, granularity, experts)
        scheme, reason = schemes[word]
        matrices.append(_matrix_plan(candidate, word, scheme, reason))
    return Plan(
        model=description.id,
        revision=description.revision,
        bits=bits,
        granularity=granularity,
        group_size=base,
        threshold=threshold,
        scale_dtype="float16" if description.dtype == "float16" else "bfloat16",
        matrices=tuple(matrices),
        kept=inventory.kept,
        methods=methods,
        experts=experts,
        head=head,
    )


def base_of(width: int, bits: int, base: int | None) -> int | None:
    """Where the groups of a matrix of `width` bits begin in a plan of `bits` whose base is `base`: there, if
    that was chosen, else at the base of its own width.
    """
    return base_group(width) if base == base_group(bits) else base


def require_head_bits(head: int) -> None:
    """Raises UsageError for a width that a head can't have."""
    if head not in HEAD_BITS:
        raise UsageError(
            f"The output head can't have {head} bits.", f"Choose {', '.join(map(str, HEAD_BITS))}."
        )


def require_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """The widths that a planner may use, sorted, each once. Raises UsageError for one that it has not, and
    where none is left to quantize to.
    """
    known = ", ".join(map(str, WIDTHS))
    unknown = [width for width in widths if width not in WIDTHS]
    if unknown:
        raise UsageError(f"No plan has matrices of {unknown[0]} bits.", f"Choose among the widths {known}.")
    if not set(widths).intersection(BITS):
        raise UsageError("The widths of a plan leave nothing to quantize to.", f"Choose among {known}.")
    return tuple(sorted(set(widths)))


def set_word(candidate: Candidate, granularity: Granularity, experts: ExpertSets) -> str:
    """Matrices with the same word share a scheme."""
    if granularity == "matrix":
        return candidate.name
    if experts == "layer" and candidate.fused_set == EXPERTS_SET:
        return experts_place(candidate.name)
    return candidate.fused_set


def require_expert_sets(experts: str) -> ExpertSets:
    """The same word, checked. Raises UsageError naming what exists."""
    for known in EXPERT_SETS:
        if experts == known:
            return known
    raise UsageError(f"Experts can't share a scheme by {experts!r}.", f"Choose {' or '.join(EXPERT_SETS)}.")


def requested_group(bits: int, granularity: Granularity, group_size: GroupSize) -> int | None:
    """The base or fixed group that was asked for, checked. Raises UsageError naming what exists."""
    if bits not in BITS:
        raise UsageError(
            f"There is no {bits}-bit scheme.", f"Choose one of {', '.join(map(str, BITS))} bits."
        )
    if granularity not in GRANULARITIES:
        raise UsageError(f"There is no granularity {granularity!r}.", f"Choose {', '.join(GRANULARITIES)}.")
    group = base_group(bits) if group_size == "default" else group_size
    if group not in FIXED_MODES:
        sizes = ", ".join(group_word(mode) for mode in FIXED_MODES)
        raise UsageError(f"There is no group size {group}.", f"Choose one of {sizes}.")
    return group


def _matrix_plan(candidate: Candidate, fused_set: str, scheme: Scheme, reason: str) -> MatrixPlan:
    return MatrixPlan(
        name=candidate.name,
        tensors=candidate.tensors,
        shape=candidate.shape,
        layer=candidate.layer,
        kind=candidate.kind,
        fused_set=fused_set,
        scheme=scheme,
        reason=reason,
        first_row=candidate.first_row,
        transposed=candidate.transposed,
    )
