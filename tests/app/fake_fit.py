"""A stand-in for fqconsole.fit: round arithmetic in the shape of the real preview."""

from dataclasses import dataclass, replace
from typing import Any

GIB = 2**30


@dataclass(frozen=True)
class FakeCapacity:
    name: str
    total_bytes: int
    free_bytes: int
    kind: str
    accuracy: Any = None


@dataclass(frozen=True)
class FakeTerm:
    name: str
    bytes: int
    origin: str
    detail: str


@dataclass(frozen=True)
class FakeOption:
    bits: int
    gpus: int
    terms: tuple[FakeTerm, ...]
    weights_bytes: int
    kv_bytes: int
    activation_bytes: int
    runtime_bytes: int
    total_bytes_per_gpu: int
    capacity_bytes: int
    verdict: str
    smallest_change: str
    largest_context: int
    largest_batch: int
    decode_tok_s: float | None = None
    split: str = "all on one"


@dataclass(frozen=True)
class FakePreview:
    model: str
    context: int
    batch: int
    capacity: FakeCapacity
    options: tuple[FakeOption, ...]
    largest_context: int
    quantize_peak: int


HOST = FakeCapacity("this machine's memory", int(23.4 * GIB), int(20.3 * GIB), "host")


def capacity_here(snapshots: tuple[Any, ...]) -> FakeCapacity:
    known = [item for item in snapshots if item.memory_free is not None]
    if not known:
        return HOST
    worst = min(known, key=lambda item: item.memory_free)
    return FakeCapacity("H100 80GB", worst.memory_total, worst.memory_free, "gpu")


def named_capacities() -> dict[str, FakeCapacity]:
    sizes = {
        "a100-40gb": 40,
        "a100-80gb": 80,
        "h100-80gb": 80,
        "h200-141gb": 141,
        "l4-24gb": 24,
        "rtx4090-24gb": 24,
    }
    return {name: FakeCapacity(name, size * GIB, size * GIB, "named gpu") for name, size in sizes.items()}


def preview(
    description: Any,
    capacity: FakeCapacity,
    *,
    bits: tuple[int, ...] = (16, 8, 4, 3),
    gpu_counts: tuple[int, ...] = (1, 2, 4, 8),
    context: int | None = None,
    batch: int = 1,
    group_size: Any = "default",
    kv_bits: int = 16,
    head: int = 16,
) -> FakePreview:
    length = context or min(8192, description.context_length)
    options = tuple(
        _option(description, capacity, b, g, length, batch, head) for b in bits for g in gpu_counts
    )
    return FakePreview(
        description.id,
        length,
        batch,
        capacity,
        options,
        description.context_length,
        min(int(description.bytes * 1.15), int(0.9 * GIB)),  # bounded, whatever the model's size
    )


def _option(  # noqa: PLR0917
    description: Any, capacity: FakeCapacity, bits: int, gpus: int, context: int, batch: int, head: int
) -> FakeOption:
    kept = description.vocab_size * description.hidden_size * 2 * (1 if description.tied_embeddings else 2)
    matrices = description.bytes - kept
    if bits != 16 and head != 16:  # a tied one is packed beside the embedding
        wide = description.vocab_size * description.hidden_size * 2
        kept += int(wide * head / 16) - (0 if description.tied_embeddings else wide)
    stored = matrices if bits == 16 else int(matrices * (bits + 0.25) / 16)
    per_token = sum(2 * layer.kv_heads * layer.head_dim * 2 for layer in description.attention)
    kv = per_token * context * batch
    activations = context * description.hidden_size * 2 * 4
    runtime = 0 if capacity.kind == "host" else int(0.62 * GIB)
    total = (kept + stored + kv) // gpus + activations + runtime
    left = capacity.free_bytes - total
    verdict = "does not fit" if left < 0 else "tight" if left < capacity.total_bytes * 0.05 else "fits"
    terms = (
        FakeTerm(
            "16-bit matrices" if bits == 16 else f"int{bits} matrices",
            stored // gpus,
            "headers",
            "252 matrices",
        ),
        FakeTerm("kept in 16 bits", kept // gpus, "headers", "embed, lm_head"),
        FakeTerm("KV cache", kv // gpus, "formula", f"{description.layers} full layers"),
        FakeTerm("activations", activations, "formula", f"prefill {context:,}"),
        FakeTerm("CUDA + Triton", runtime, "default", "not measured here"),
    )
    return FakeOption(
        bits,
        gpus,
        terms,
        (kept + stored) // gpus,
        kv // gpus,
        activations,
        runtime,
        total,
        capacity.free_bytes,
        verdict,
        "" if verdict == "fits" else "int3, or 4 GPUs, or context ≤ 2,048",
        description.context_length,
        60,
        None if capacity.kind == "host" else 3350e9 / (kept + stored),
        "all on one" if gpus == 1 else "tensor parallel",
    )


class FakePlanMemory:
    """What plans take: everything but the matrices of the 16-bit option, and the plan's bytes."""

    def __init__(self, description: Any, found: FakePreview, gpus: int, planner: Any) -> None:
        options = [option for option in found.options if option.bits == 16]
        self._wide = next((option for option in options if option.gpus == gpus), options[0])
        self._rest = self._wide.total_bytes_per_gpu - self._wide.terms[0].bytes

    @property
    def most_bytes(self) -> int:
        return max(0, int(self._wide.capacity_bytes * 0.95) - self._rest)

    def option(self, size: int, bits_per_weight: float) -> FakeOption:
        total = self._rest + size
        left = self._wide.capacity_bytes - total
        term = FakeTerm("planned matrices", size, "formula", f"{bits_per_weight:.2f} bits a weight")
        return replace(
            self._wide,
            terms=(term, *self._wide.terms[1:]),
            total_bytes_per_gpu=total,
            verdict="fits" if left >= 0 else "does not fit",
            smallest_change="" if left >= 0 else "fewer bits a weight",
        )
