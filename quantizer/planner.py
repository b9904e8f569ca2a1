"""From what the operator wants to a scheme for every matrix: the planner.

Candidates of a set that engines fuse are bits {3, 4, 8} × groups {channel, 128, 64, 32} as far as they
divide every K of the set, and 16 bits: kept as it is; only some of these widths where the operator says so,
because an engine has no other (docs/serve.md). Their cost is in bytes, their loss predicted as the sum
over the members of sensitivity (quantizer/sensitivity.py) times relative squared error
(quantizer/candidate_errors.py).

The predicted loss of a plan is the share of noise in what the matrices make, weighted by how much each
matters: 0.01 is 1 % of noise energy. It ranks plans of one model; what it comes to in perplexity differs from
model to model, and only `fqconsole evaluate` tells.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec

from fqconsole.errors import UsageError
from fqconsole.models.description import ModelDescription
from quantizer.allocation import Allocation, Problem
from quantizer.base import base_plan, require_widths
from quantizer.measured import KEPT, Measured, candidate_schemes, scheme_word
from quantizer.methods import methods_of
from quantizer.plan import ChannelSet, ExpertSets, KeptTensor, MatrixPlan, Plan
from quantizer.scheme import WIDTHS, Scheme, stored_bytes, widths_word
from quantizer.sensitivity import HEAD_PART, felt, sensitivities

PLANNED = "planned in 16 bits"  # the reason of a matrix that the planner keeps
FRONTIER_POINTS = 40


class Point(msgspec.Struct, frozen=True):
    """One place on the frontier: no plan of this size is predicted to lose less."""

    bytes: int
    bits_per_weight: float
    predicted_loss: float


class Planner:
    """The candidates of one model and their predicted losses; every target is answered from these."""

    def __init__(
        self,
        description: ModelDescription,
        measured: Measured,
        *,
        experts: ExpertSets = "model",
        head: int = 16,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        """`experts` and `head` as `base_plan` has them: a head has its bits whatever the target, and the
        groups that pay; all other matrices have `widths` to choose from. Raises UsageError when another model
        was measured, and for widths that no plan has.
        """
        self.draft = msgspec.structs.replace(
            base_plan(description, 4, methods=methods_of(measured.mode), experts=experts, head=head),
            widths=require_widths(widths),
        )
        self._measured = measured
        self._tensors = {tensor.name: tensor for tensor in description.tensors}
        missing = [matrix.name for matrix in self.draft.matrices if matrix.name not in measured.matrices]
        if missing:
            raise UsageError(f"{missing[0]} was not measured.", "Plan again: the model has changed.")
        self.sets: dict[str, list[MatrixPlan]] = defaultdict(list)
        for matrix in self.draft.matrices:
            self.sets[matrix.fused_set].append(matrix)
        layers = [matrix for matrix in self.draft.matrices if matrix.layer is not None]
        self._shares = sensitivities(layers, measured.matrices, measured.embedding_square)
        self._shares |= {matrix.name: HEAD_PART for matrix in self.draft.matrices if matrix.layer is None}
        self._candidates = {word: self._candidates_of(members) for word, members in self.sets.items()}
        self._costs = [
            [sum(self.matrix_bytes(matrix, scheme) for matrix in self.sets[word]) for scheme in schemes]
            for word, schemes in self._candidates.items()
        ]
        self._problem = Problem(self._costs, self._losses, self._uniform)

    @property
    def weights(self) -> int:
        """Weights of all matrices, whatever becomes of them."""
        return sum(matrix.weights for matrix in self.draft.matrices)

    def within_bytes(self, limit: int, target: str) -> Plan:
        """The plan of least predicted loss whose matrices take at most `limit` bytes, those kept in 16 bits
        too. Raises UsageError where even the smallest is larger.
        """
        found = self._problem.least(limit)
        if found is None:
            least = self._bits(self._problem.frontier()[0].cost)
            raise UsageError(
                f"{self.draft.model} can't be made that small: {self._bits(limit):.2f} bits per weight are "
                f"wanted, and {min(self.draft.widths)} bits in whole rows come to {least:.2f}.",
                f"Ask for {math.ceil(least * 100) / 100:.2f} or more{self._or_wider(WIDTHS[0])}.",
            )
        return self._plan(found, target)

    def within_bits(self, bits_per_weight: float, target: str) -> Plan:
        """The same for a mean of stored bits over all matrices, scales and padding included."""
        if not 0 < bits_per_weight < math.inf:
            raise UsageError(
                f"{bits_per_weight:g} bits per weight is no size.", "Ask for 3.1 to 16, 3.6 say."
            )
        return self.within_bytes(math.floor(bits_per_weight * self.weights / 8), target)

    def within_loss(self, limit: float, target: str) -> Plan:
        """The smallest plan whose predicted loss is at most `limit`, 0.01 for 1 %."""
        if not 0 <= limit < math.inf:
            raise UsageError(f"A loss of {limit:g} can't be kept to.", "Ask for 1%, say.")
        found = Problem(self._losses, self._costs, self._uniform).least(limit)
        if found is None:  # with 16 bits among the widths only a packed head loses anything
            least = math.ceil(self._problem.frontier()[-1].value * 1e5) / 1e3
            raise UsageError(
                f"No plan of {self.draft.model} in {widths_word(self.draft.widths)} bits loses as little as "
                f"{limit * 100:g}% by prediction.",
                f"Ask for {least:g}% or more{self._or_wider(KEPT.bits)}.",
            )
        return self._plan(found, target)

    def with_schemes(self, schemes: Mapping[str, Scheme], target: str) -> Plan:
        """The plan with these schemes by matrix, all of the model's; fused sets agree (see plan_file)."""
        kept = {name for name, scheme in schemes.items() if scheme.bits == KEPT.bits}
        matrices = tuple(
            msgspec.structs.replace(
                matrix,
                scheme=schemes[matrix.name],
                reason=_reason(target, self.matrix_loss(matrix, schemes[matrix.name])),
                predicted_loss=self.matrix_loss(matrix, schemes[matrix.name]),
            )
            for matrix in self.draft.matrices
            if matrix.name not in kept
        )
        source = dict.fromkeys(name for m in self.draft.matrices if m.name in kept for name in m.tensors)
        tensors = tuple(
            KeptTensor(name, self._tensors[name].shape, self._tensors[name].bytes, PLANNED) for name in source
        )
        bits = Counter[int]()
        for matrix in matrices:
            bits[matrix.scheme.bits] += matrix.weights
        return msgspec.structs.replace(
            self.draft,
            bits=bits.most_common(1)[0][0] if bits else KEPT.bits,
            granularity="planned",
            matrices=matrices,
            kept=self.draft.kept + tensors,
            channels=channels_without(self._measured.channels, kept),
            target=target,
        )

    def share(self, matrix: str) -> float:
        """How much of the loss a relative squared error of the matrix makes; all shares together are 1."""
        return self._shares[matrix]

    def matrix_loss(self, matrix: MatrixPlan, scheme: Scheme) -> float | None:
        """The share of a matrix in the predicted loss; None for a scheme that was not measured."""
        if scheme.bits == KEPT.bits:
            return 0.0
        if scheme.group_size == matrix.shape[-1]:
            scheme = Scheme(scheme.bits, None)
        error = self._measured.matrices[matrix.name].errors.get(scheme_word(scheme))
        return None if error is None else self._shares[matrix.name] * felt(error)

    def matrix_bytes(self, matrix: MatrixPlan, scheme: Scheme) -> int:
        """Stored bytes of a matrix or stack in a scheme; in 16 bits those of its source."""
        if scheme.bits != KEPT.bits:
            return stored_bytes(matrix.shape, scheme)
        tensor = self._tensors[matrix.tensors[0]]
        return matrix.weights * tensor.bytes // max(1, tensor.elements)

    def plan_loss(self, plan: Plan) -> float | None:
        """The predicted loss of any plan of this model; None where one of its schemes was not measured."""
        losses = [self.matrix_loss(matrix, matrix.scheme) for matrix in plan.matrices]
        known = [loss for loss in losses if loss is not None]
        return math.fsum(known) if len(known) == len(losses) else None

    def plan_bytes(self, plan: Plan) -> int:
        """Stored bytes of all matrices of a plan, with those that it keeps in 16 bits."""
        kept = sum(tensor.bytes for tensor in plan.kept if tensor.reason == PLANNED)
        return kept + sum(matrix.bytes for matrix in plan.matrices)

    def schemes(self, plan: Plan) -> dict[str, Scheme]:
        """The scheme of every matrix of the model in a plan, 16 bits for those that it keeps."""
        planned = {matrix.name: matrix.scheme for matrix in plan.matrices}
        return {matrix.name: planned.get(matrix.name, KEPT) for matrix in self.draft.matrices}

    @cached_property
    def frontier(self) -> tuple[Point, ...]:
        """Size against predicted loss, from the smallest plan to 16 bits throughout; thinned out."""
        passed = self._problem.frontier()
        step = max(1, len(passed) // FRONTIER_POINTS)
        shown = passed[:-1:step] + passed[-1:]
        return tuple(Point(round(held.cost), self._bits(held.cost), held.value) for held in shown)

    @cached_property
    def _uniform(self) -> list[list[int]]:
        """One scheme for all sets, by candidate; `channel` where its group is none of a set's."""
        schemes = {scheme for held in self._candidates.values() for scheme in held}
        return [
            [_nearest(held, scheme) for held in self._candidates.values()]
            for scheme in sorted(schemes, key=scheme_word)
        ]

    @cached_property
    def _losses(self) -> list[list[float]]:
        return [
            [sum(self.matrix_loss(matrix, scheme) or 0.0 for matrix in self.sets[word]) for scheme in schemes]
            for word, schemes in self._candidates.items()
        ]

    def _candidates_of(self, members: Sequence[MatrixPlan]) -> list[Scheme]:
        """What every member of a set can have; a group as long as a row is `channel` there."""
        found = [
            scheme
            for scheme in candidate_schemes(max(matrix.shape[-1] for matrix in members))
            if all(scheme.group_size is None or m.shape[-1] % scheme.group_size == 0 for m in members)
        ]
        if members[0].layer is None:
            return [scheme for scheme in found if scheme.bits == members[0].scheme.bits]
        return [scheme for scheme in (*found, KEPT) if scheme.bits in self.draft.widths]

    def _plan(self, found: Allocation, target: str) -> Plan:
        schemes = {
            matrix.name: candidates[pick]
            for pick, (word, candidates) in zip(found.picks, self._candidates.items(), strict=True)
            for matrix in self.sets[word]
        }
        return self.with_schemes(schemes, target)

    def _or_wider(self, width: int) -> str:
        """What else helps where `width` was left out."""
        return "" if width in self.draft.widths else f", or add {width} to the widths"

    def _bits(self, count: float) -> float:
        return count * 8 / self.weights


def channels_without(channels: Sequence[ChannelSet], kept: set[str]) -> tuple[ChannelSet, ...]:
    """The channel sets of a plan that keeps some matrices in 16 bits: what touches one is not balanced.

    Its readers would have to take the factors in 16 bits, and what is kept is to be the source's bit for bit.
    """
    found = []
    for held in channels:
        if kept.intersection((held.producer, *held.readers)):
            readers = tuple(name for name in held.readers if name not in kept)
            if not readers:
                continue
            held = msgspec.structs.replace(  # noqa: PLW2901
                held, readers=readers, factors=b"", reason="read or made by a matrix that stays in 16 bits"
            )
        found.append(held)
    return tuple(found)


def _nearest(held: Sequence[Scheme], scheme: Scheme) -> int:
    """The index of `scheme` among candidates, else of what is like it; a head has one width alone."""
    alike = (scheme, Scheme(scheme.bits, None), Scheme(held[0].bits, scheme.group_size))
    return next((held.index(each) for each in alike if each in held), 0)


def _reason(target: str, loss: float | None) -> str:
    told = "loss not measured" if loss is None else f"predicted loss {loss:.2%}"
    return f"{target}: {told}"
