"""The job protocol: every request, event and failure between the console and a worker, as typed JSON lines.

Requests are defined in `fqconsole.jobs.requests` and handed out here too. A request goes to the worker's
standard input, an event comes back on a pipe of its own; one JSON object a line, tagged by "type". PROTOCOL
changes when a field's meaning changes; a worker refuses a request of another version.
"""

from typing import Any, Literal

import msgspec

from fqconsole.device_probe import Probe
from fqconsole.evaluation.task_names import TaskScore
from fqconsole.jobs.requests import (
    PROTOCOL,
    AnyRequest,
    Cancel,
    Device,
    Pause,
    Request,
    Resume,
    Send,
    StartDescribe,
    StartDownload,
    StartEndpoint,
    StartEvaluate,
    StartExport,
    StartPlan,
    StartProbe,
    StartQuantize,
    StartSession,
    StartTasks,
    StartVerify,
    Stop,
)
from fqconsole.models.bare_config import ClassShapes
from quantizer.plan import Plan
from quantizer.verdict import Verification

RunKind = Literal["quantize", "generate", "evaluate", "download", "benchmark"]
RunStatus = Literal["running", "done", "failed", "cancelled", "interrupted"]

__all__ = [
    "PROTOCOL",
    "AnyEvent",
    "AnyRequest",
    "Cancel",
    "CandidatesMeasured",
    "CheckpointWritten",
    "ConfigDescribed",
    "Device",
    "DownloadDone",
    "EvaluationDone",
    "Event",
    "ExportDone",
    "GenerationDone",
    "GenerationStarted",
    "JobDone",
    "JobFailed",
    "LogLine",
    "MatrixDone",
    "MemoryMeasured",
    "Pause",
    "Paused",
    "PhaseStarted",
    "PlanReady",
    "ProbeDone",
    "Progress",
    "Request",
    "Resume",
    "Resumed",
    "RunKind",
    "RunStatus",
    "Send",
    "SessionReady",
    "StartDescribe",
    "StartDownload",
    "StartEndpoint",
    "StartEvaluate",
    "StartExport",
    "StartPlan",
    "StartProbe",
    "StartQuantize",
    "StartSession",
    "StartTasks",
    "StartVerify",
    "Stop",
    "TasksDone",
    "TokensGenerated",
    "VerificationDone",
    "WorkerStarted",
    "decode_event",
    "decode_request",
    "encode",
    "to_builtins",
]


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=True):
    """What a worker tells. `t` is seconds since the epoch, set when the event is made."""

    t: float


class WorkerStarted(Event, frozen=True):
    """First event of every worker; `run_id` is empty for a session, whose runs name the worker by its pid."""

    pid: int
    protocol: int
    versions: dict[str, str]  # python, torch, triton, transformers, fqconsole
    device: str  # the device that "auto" came to: "cpu" or "cuda:0"; "remote": a server's
    device_name: str  # "NVIDIA H200" or the CPU's name
    run_id: str = ""


class PhaseStarted(Event, frozen=True):
    """A job goes through phases in order; `total` units of `unit` lie ahead in this one (0 = unknown)."""

    phase: str  # "hash", "analyse", "quantize", "load", "evaluate reference", "evaluate", "download"
    total: float
    unit: str  # "B", "matrices", "tokens"


class Progress(Event, frozen=True):
    """At most ten a second. `done` in the phase's unit; rates and ETA are None until known."""

    phase: str
    done: float
    total: float
    rate: float | None = None  # units per second
    eta_seconds: float | None = None
    host_bytes: int | None = None  # resident memory of the worker now
    device_bytes: int | None = None  # torch's allocated bytes on the device now
    note: str = ""


class PlanReady(Event, frozen=True):
    """The decisions are made; nothing is written yet."""

    run_id: str
    plan: Plan
    predicted_bytes: int  # of the quantized matrices, codes and scales
    bits_per_weight: float  # over the quantized matrices


class MatrixDone(Event, frozen=True):
    """One matrix (or one layer's stack of experts) is quantized."""

    run_id: str
    index: int
    count: int
    name: str
    layer: int | None
    kind: str
    shape: tuple[int, ...]
    bits: int
    group_size: int | None  # None = channel
    statistic: dict[str, float]
    relative_error: float  # ‖W−Ŵ‖/‖W‖
    bytes: int
    seconds: float
    reason: str


class CheckpointWritten(Event, frozen=True):
    """The checkpoint stands under its final name."""

    run_id: str
    checkpoint: str
    bytes: int  # safetensors payload, kept tensors included
    source_bytes: int
    bits_per_weight: float  # over the quantized matrices
    model_bits_per_weight: float  # over all weights, kept ones included
    seconds: float


class SessionReady(Event, frozen=True):
    """The model is loaded and warm, or a server says that it has it."""

    model_path: str  # of a served model its address
    precision: str  # "bf16", "fp16", "int4", ...; "remote"
    device: str
    context: int | None  # None: a server that does not say
    has_chat_template: bool
    load_seconds: float
    weights_bytes: int | None  # measured: parameters and buffers on the device
    path: str  # which matmul runs: "triton", "cpu int4 op", "cpu dequantize", "16-bit"; "endpoint"
    pid: int = 0  # of the worker, so that several sessions at once can be told apart
    stages: dict[str, float] = {}  # seconds of each, in order, from the start of the worker


class GenerationStarted(Event, frozen=True):
    """The prompt is tokenized; `rendered` is what the model really sees."""

    run_id: str
    prompt_tokens: int | None  # None: a server that has not said yet
    rendered: str
    seed: int | None
    pid: int = 0  # of the worker


class TokensGenerated(Event, frozen=True, gc=False):
    """New text since the last such event."""

    run_id: str
    text: str
    count: int  # tokens so far
    tok_s: float | None


class GenerationDone(Event, frozen=True):
    """The whole answer with its measured speeds."""

    run_id: str
    text: str
    token_ids: tuple[int, ...]
    prompt_tokens: int | None
    ttft_ms: float
    prefill_tok_s: float | None
    decode_tok_s: float | None  # None with fewer than two new tokens
    peak_bytes: int | None  # CUDA: torch's peak; CPU: resident memory peak of the worker
    stop_reason: Literal["end", "length", "stop_string", "stopped", "context"]
    new_tokens: int | None = None  # of a server, which tells no ids
    reused_tokens: int = 0  # of the prompt: their keys and values were left by an earlier turn

    @property
    def tokens(self) -> int | None:
        """How many tokens the answer has; None where a server does not say."""
        return len(self.token_ids) if self.new_tokens is None else self.new_tokens


class MemoryMeasured(Event, frozen=True):
    """One term of the fit, measured."""

    run_id: str
    gpu: int | None  # None = host
    term: str  # "weights", "kv", "activations", "runtime", "total"; on several GPUs "exchange" alone
    bytes: int
    predicted: int | None = None  # what the preview says of just as many tokens as there were


class EvaluationDone(Event, frozen=True):
    """Mean over all scored tokens, natural logarithm."""

    run_id: str
    perplexity: float
    reference_perplexity: float
    kl_divergence: float
    top1_agreement: float
    tokens: int
    seconds: float


class TasksDone(Event, frozen=True):
    """What benchmark tasks gave."""

    run_id: str
    scores: tuple[TaskScore, ...]
    seconds: float
    versions: dict[str, str]  # lm_eval, datasets


class ExportDone(Event, frozen=True):
    """The checkpoint stands in its other format."""

    path: str
    to: str
    bytes: int
    exact: bool  # every weight and scale as in the checkpoint
    notes: tuple[str, ...]  # what is not, and what to know
    seconds: float


class CandidatesMeasured(Event, frozen=True):
    """The candidates of a model are measured; what `quantizer.measured` reads lies in `path`."""

    path: str
    seconds: float
    plan: Plan | None = None  # the rule's, where one was asked for, without its numbers per channel


class VerificationDone(Event, frozen=True):
    """What a verification found."""

    verification: Verification


class ConfigDescribed(Event, frozen=True):
    """What the class makes of a config."""

    shapes: ClassShapes


class ProbeDone(Event, frozen=True):
    """What was measured of the device."""

    probe: Probe


class DownloadDone(Event, frozen=True):
    run_id: str
    path: str
    bytes: int


class Paused(Event, frozen=True):
    """The job holds."""


class Resumed(Event, frozen=True):
    """The job goes on."""


class LogLine(Event, frozen=True, gc=False):  # holds no other object, and there may be 100,000
    level: Literal["info", "warning", "error"]
    text: str


class JobDone(Event, frozen=True):
    """Last event of a run that ended in order. In a session it ends the run, not the worker."""

    run_id: str
    status: Literal["done", "cancelled"]


class JobFailed(Event, frozen=True):
    """Last event of a run that failed; `run_id` is empty when a session failed before any run."""

    run_id: str
    code: str  # OperatorError.code, or "internal"
    what: str
    next_step: str
    exit_code: int
    details: str = ""  # traceback, for the log


AnyEvent = (
    WorkerStarted | PhaseStarted | Progress | PlanReady | MatrixDone | CheckpointWritten | SessionReady
    | GenerationStarted | TokensGenerated | GenerationDone | MemoryMeasured | EvaluationDone
    | TasksDone | ExportDone | CandidatesMeasured | VerificationDone | ConfigDescribed | ProbeDone
    | DownloadDone | Paused | Resumed | LogLine | JobDone | JobFailed
)  # fmt: skip

_encoder = msgspec.json.Encoder()
_request_decoder = msgspec.json.Decoder(AnyRequest)
_event_decoder = msgspec.json.Decoder(AnyEvent)


def encode(message: Request | Event) -> bytes:
    """One line of JSON with its newline."""
    return _encoder.encode(message) + b"\n"


def decode_request(line: bytes | str) -> AnyRequest:
    """Raises msgspec.ValidationError naming the field."""
    request: AnyRequest = _request_decoder.decode(line)
    return request


def decode_event(line: bytes | str) -> AnyEvent:
    """Raises msgspec.ValidationError naming the field."""
    event: AnyEvent = _event_decoder.decode(line)
    return event


def to_builtins(message: Any) -> Any:
    """Plain dicts and lists, for `--json` and the store."""
    return msgspec.to_builtins(message)
