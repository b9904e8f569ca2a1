"""What the store hands out: plain frozen rows, made for a screen, a table or JSON."""

from typing import Any

import msgspec

from store.votes import VoteRow


class RunRow(msgspec.Struct, frozen=True):
    """One line of the list of runs. None is "not known"; times are seconds since the epoch.

    A quantize run shows the speed and the quality that were last measured on its checkpoint.
    """

    run_id: str
    kind: str  # quantize, generate, evaluate, download, benchmark
    status: str  # running, done, failed, cancelled, interrupted
    started: float
    ended: float | None
    model: str
    revision: str | None
    path: str | None  # the checkpoint that was made or used
    bits: int | None  # 16 for a model that is not quantized
    group: str | None  # "channel", "64", ...
    granularity: str | None
    device: str | None
    perplexity: float | None
    kl_divergence: float | None
    decode_tok_s: float | None
    ttft_ms: float | None
    bits_per_weight: float | None
    bytes: int | None
    peak_bytes: int | None  # measured
    predicted_bytes: int | None  # what the fit preview said of the same
    parent: str | None
    baseline: bool
    note: str
    tags: tuple[str, ...]

    @property
    def seconds(self) -> float | None:
        """How long the run took, if it has ended."""
        return None if self.ended is None else max(0.0, self.ended - self.started)


class MatrixRow(msgspec.Struct, frozen=True):
    """One quantized matrix."""

    name: str
    layer: int | None
    kind: str
    shape: tuple[int, ...]
    bits: int
    group_size: int | None  # None = channel
    statistic: dict[str, float]
    relative_error: float
    bytes: int
    seconds: float
    reason: str


class MetricRow(msgspec.Struct, frozen=True):
    """One measured number; `step` None is the whole run."""

    name: str
    value: float
    step: int | None = None


class GenerationRow(msgspec.Struct, frozen=True):
    """One prompt and its answer."""

    prompt: str | None
    prompt_hash: str | None
    rendered: str | None
    output: str | None
    output_hash: str | None
    sampling: dict[str, Any]
    seed: int | None
    ttft_ms: float | None
    prefill_tok_s: float | None
    decode_tok_s: float | None
    tokens_in: int | None
    tokens_out: int | None
    stop_reason: str | None


class MemoryRow(msgspec.Struct, frozen=True):
    """One term of the fit on one GPU (None: the host), bytes."""

    gpu: int | None
    term: str
    predicted: int | None
    measured: int | None


class MemoryPair(msgspec.Struct, frozen=True):
    """Terms of one run that were predicted and measured: term → (predicted, measured) bytes."""

    run_id: str
    started: float
    model: str
    bits: int | None
    gpu: int | None  # None: the host
    device_name: str
    versions: dict[str, str]
    terms: dict[str, tuple[int, int]]


class GpuSampleRow(msgspec.Struct, frozen=True):
    """One reading of a GPU during a run; None where it could not be read."""

    t: float
    gpu: int
    util: float | None  # percent
    mem: int | None  # bytes
    power: float | None  # W
    temp: float | None  # °C


class Run(msgspec.Struct, frozen=True):
    """Everything of one run but its GPU samples, which `Store.gpu_samples` hands out."""

    row: RunRow
    options: dict[str, Any]
    host: dict[str, Any]
    plan: dict[str, Any] | None
    error: dict[str, Any] | None  # code, what, next_step, details
    metrics: tuple[MetricRow, ...]
    matrices: tuple[MatrixRow, ...]
    memory: tuple[MemoryRow, ...]
    generation: GenerationRow | None
    children: tuple[str, ...]  # runs made with this run's checkpoint
    votes: tuple[VoteRow, ...] = ()  # blind votes on its answer

    def metric(self, name: str) -> float | None:
        """The number of the whole run with this name."""
        return next((m.value for m in self.metrics if m.name == name and m.step is None), None)
