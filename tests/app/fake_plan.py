"""A stand-in for the quantizer: a plan of six matrices a layer, and the events of a job that follows it."""

from typing import Any

import msgspec

from fqconsole.errors import UsageError
from fqconsole.jobs.messages import (
    AnyEvent,
    CheckpointWritten,
    JobDone,
    JobFailed,
    LogLine,
    MatrixDone,
    PhaseStarted,
    PlanReady,
    Progress,
    WorkerStarted,
)
from fqconsole.models.description import ModelDescription
from quantizer.plan import KeptTensor, MatrixPlan, Plan, plan_bits_per_weight, predicted_bytes
from quantizer.planner import Point
from quantizer.scheme import Scheme

NOW = 1_763_827_200.0
KINDS = (
    ("q_proj", 1.0),
    ("k_proj", 0.5),
    ("v_proj", 0.5),
    ("o_proj", 1.0),
    ("gate_proj", 3.0),
    ("down_proj", 3.0),
)
FINE = {(0, "down_proj"), (2, "down_proj"), (3, "q_proj"), (3, "k_proj"), (3, "v_proj")}


def base_plan(
    about: ModelDescription,
    bits: int,
    granularity: str = "adaptive",
    group_size: Any = "default",
    **_more: Any,
) -> Plan:
    base = 64 if group_size == "default" else group_size
    matrices = []
    for layer in range(about.layers):
        for kind, rows in KINDS:
            name = (
                f"model.layers.{layer}.{'mlp' if kind in ('gate_proj', 'down_proj') else 'self_attn'}.{kind}"
            )
            finer = granularity == "adaptive" and (layer, kind) in FINE
            matrices.append(
                MatrixPlan(
                    name=name,
                    tensors=(f"{name}.weight",),
                    shape=(int(about.hidden_size * rows), about.hidden_size),
                    layer=layer,
                    kind=kind,
                    fused_set=name,
                    scheme=Scheme(bits, 32 if finer else base),
                    reason="range halves with groups of 32: 64 → 32" if finer else "",
                )
            )
    kept = (
        KeptTensor(
            "model.embed_tokens.weight",
            (about.vocab_size, about.hidden_size),
            about.vocab_size * about.hidden_size * 2,
            "embedding",
        ),
        KeptTensor("model.norm.weight", (about.hidden_size,), about.hidden_size * 2, "norm"),
    )
    return Plan(about.id, None, bits, granularity, base, 0.7, "bfloat16", tuple(matrices), kept)  # type: ignore[arg-type]


def quantize_events(
    about: ModelDescription, *, bits: int = 4, upto: int | None = None, run_id: str = "r0001"
) -> list[AnyEvent]:
    """The events of a whole job, or of its first `upto` matrices, with round times."""
    plan = base_plan(about, bits)
    total = float(about.bytes)
    events: list[AnyEvent] = [
        WorkerStarted(NOW, 4242, 1, {"torch": "2.13.0"}, "cpu", "a CPU"),
        LogLine(NOW, "info", "quantizing on the CPU"),
        PhaseStarted(NOW, "analyse", total, "B"),
        Progress(NOW + 1, "analyse", total, total, total / 8, 6.0, 400_000_000),
        PlanReady(NOW + 8, run_id, plan, predicted_bytes(plan), plan_bits_per_weight(plan)),
        PhaseStarted(NOW + 8, "quantize", total, "B"),
    ]
    count = len(plan.matrices)
    for index, matrix in enumerate(plan.matrices[:upto]):
        t = NOW + 9 + index * 0.25
        wave = (index * 37) % 23 / 23
        events.append(
            MatrixDone(
                t,
                run_id,
                index,
                count,
                matrix.name,
                matrix.layer,
                matrix.kind,
                matrix.shape,
                bits,
                matrix.scheme.group_size,
                {"64": 0.71},
                0.06 + 0.06 * wave,
                matrix.bytes,
                0.21,
                matrix.reason,
            )
        )
        done = total * (index + 1) / count
        events.append(
            Progress(
                t,
                "quantize",
                done,
                total,
                total / 16,
                (total - done) / (total / 16),
                512_000_000,
                None,
                matrix.name,
            )
        )
    if upto is None:
        stored = predicted_bytes(plan) + sum(tensor.bytes for tensor in plan.kept)
        events.append(
            CheckpointWritten(
                NOW + 30,
                run_id,
                f"/data/checkpoints/{about.id.replace('/', '--')}-int{bits}-adaptive",
                stored,
                about.bytes,
                plan_bits_per_weight(plan),
                6.02,
                22.0,
            )
        )
        events.append(JobDone(NOW + 30, run_id, "done"))
    return events


def failed_events(about: ModelDescription) -> list[AnyEvent]:
    """A job that runs out of disk after nine matrices."""
    failure = JobFailed(
        NOW + 12,
        "r0001",
        "failed",
        "The disk under /data/checkpoints is full (4.0 MiB free, 12.1 MiB needed).",
        "Free some space, or choose another folder.",
        1,
        "OSError: [Errno 28] No space left on device",
    )
    return [*quantize_events(about, upto=9), failure]


class FakePlanner:
    """A planner whose candidates are whole widths: the widest one within the bytes, or the narrowest within
    the loss; a plan of `bits` loses 4^-bits of what is rounded.
    """

    WIDTHS = (3, 4, 8)

    def __init__(self, about: ModelDescription) -> None:
        self.plans = {bits: self._made(base_plan(about, bits, "fixed")) for bits in self.WIDTHS}
        self.weights = sum(matrix.weights for matrix in self.plans[4].matrices)
        self.frontier = tuple(
            Point(self.plan_bytes(plan), self._bits(plan), self.plan_loss(plan))
            for plan in self.plans.values()
        )

    def within_bits(self, bits_per_weight: float, target: str) -> Plan:
        return self.within_bytes(int(bits_per_weight * self.weights / 8), target)

    def within_bytes(self, limit: int, target: str) -> Plan:
        fitting = [bits for bits in self.WIDTHS if self.plan_bytes(self.plans[bits]) <= limit]
        if not fitting:
            raise UsageError("demo can't be made that small.", "Ask for 3.25 or more.")
        return msgspec.structs.replace(self.plans[max(fitting)], target=target)

    def within_loss(self, limit: float, target: str) -> Plan:
        fitting = [bits for bits in self.WIDTHS if self.plan_loss(self.plans[bits]) <= limit]
        if not fitting:
            return msgspec.structs.replace(self.plans[8], matrices=(), target=target)
        return msgspec.structs.replace(self.plans[min(fitting)], target=target)

    def plan_bytes(self, plan: Plan) -> int:
        return predicted_bytes(plan)

    def plan_loss(self, plan: Plan) -> float:
        return sum(matrix.predicted_loss or 0.0 for matrix in plan.matrices)

    def _bits(self, plan: Plan) -> float:
        return self.plan_bytes(plan) * 8 / self.weights

    @staticmethod
    def _made(plan: Plan) -> Plan:
        count = len(plan.matrices)
        matrices = tuple(
            msgspec.structs.replace(
                matrix,
                predicted_loss=4.0**-plan.bits * 2 * (index + 1) / (count * (count + 1)),
                reason=f"predicted loss of {matrix.kind}",
            )
            for index, matrix in enumerate(plan.matrices)
        )
        return msgspec.structs.replace(plan, matrices=matrices, granularity="planned")
