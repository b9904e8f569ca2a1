"""A stand-in for the quantizer: a plan of six matrices a layer, and the events of a job that follows it."""

from typing import Any

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
        Progress(NOW + 1, "analyse", total, total, total / 8, 0.0, 400_000_000),
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
