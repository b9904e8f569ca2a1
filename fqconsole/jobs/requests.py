"""What the console asks of a worker: one line on its standard input each."""

from typing import Any, Literal

import msgspec

from fqconsole.generation.options import Sampling
from quantizer.methods import DEFAULT_MODE
from quantizer.plan import ExpertSets, Granularity
from quantizer.scheme import WIDTHS

PROTOCOL = 1

Device = str  # "auto", "cpu", "cuda", "cuda:1"


class Request(msgspec.Struct, frozen=True, tag_field="type", tag=True, forbid_unknown_fields=True):
    """What the console asks of a worker."""


class StartQuantize(Request, frozen=True):
    """Quantize the 16-bit model in folder `model_path` into the new folder `out`."""

    run_id: str
    model_id: str
    model_path: str
    out: str
    bits: int
    granularity: Granularity = "adaptive"
    # fixed: the group; adaptive: the base; None = channel
    group_size: int | Literal["default"] | None = "default"
    threshold: float = 0.7
    mode: str = DEFAULT_MODE  # what `quantizer.methods.methods_of` reads
    device: Device = "auto"
    protocol: int = PROTOCOL
    plan_path: str | None = None  # granularity "planned": the plan, as JSON
    experts: ExpertSets = "model"  # what shares a scheme: the routed experts of all layers, or of each
    head: int = 16  # bits of the output head
    widths: tuple[int, ...] = WIDTHS  # granularity "planned": what the plan's matrices but the head may have


class StartPlan(Request, frozen=True):
    """Measure what each candidate scheme of each matrix would lose, and keep that for any target.

    With `bits` also decide FineQuant's rule at these bits. It leaves no run.
    """

    model_id: str
    model_path: str
    bits: int | None = None
    granularity: Granularity = "adaptive"
    group_size: int | Literal["default"] | None = "default"
    threshold: float = 0.7
    mode: str = DEFAULT_MODE
    device: Device = "auto"
    protocol: int = PROTOCOL
    experts: ExpertSets = "model"  # of the rule
    head: int = 16  # of the rule


class StartEvaluate(Request, frozen=True):
    """Compare `checkpoint_path` with its 16-bit `reference_path` on a text.

    `text_path` None is the built-in held-out text.
    """

    run_id: str
    checkpoint_path: str
    reference_path: str
    text_path: str | None = None
    window: int = 512
    max_tokens: int = 32768
    device: Device = "auto"
    protocol: int = PROTOCOL


class StartTasks(Request, frozen=True):
    """Run benchmark tasks of lm-evaluation-harness on the model in `checkpoint_path`, quantized or not."""

    run_id: str
    checkpoint_path: str
    tasks: tuple[str, ...]  # the harness's names, or the paper's
    task_path: str | None = None  # a folder with more task files
    limit: int | None = None  # questions of each task
    fewshot: int | None = None  # examples in each prompt; None: the task's own number
    batch: int | None = None  # sequences at a time; None: as many as are comfortable
    device: Device = "auto"
    protocol: int = PROTOCOL


class StartExport(Request, frozen=True):
    """Write `checkpoint_path` in another format to `out`. It leaves no run."""

    checkpoint_path: str
    out: str
    to: str  # what `quantizer.export.FORMATS` lists
    inexact: bool = False  # also where the format can't hold every value as it is
    protocol: int = PROTOCOL


class StartVerify(Request, frozen=True):
    """Check every checksum of `checkpoint_path` and make some of it again from its source, or all.

    It leaves no run in the record.
    """

    checkpoint_path: str
    source_path: str | None = None  # None: where the manifest says that the 16-bit model lies
    every: bool = False
    device: Device = "auto"
    protocol: int = PROTOCOL


class StartDescribe(Request, frozen=True):
    """Tell the tensors that a model of this config.json has, from its class alone. It leaves no run."""

    config: dict[str, Any]
    protocol: int = PROTOCOL


class StartProbe(Request, frozen=True):
    """Measure what a process takes on the device besides its model, and how fast memory is read.

    It leaves no run.
    """

    device: Device = "auto"
    protocol: int = PROTOCOL


class StartDownload(Request, frozen=True):
    """Fetch a hub model into the standard Hugging Face cache; goes on where an earlier download stopped."""

    run_id: str
    model_id: str
    revision: str | None = None
    protocol: int = PROTOCOL


class StartSession(Request, frozen=True):
    """Load a quantized or 16-bit model and keep it warm; each `Send` to it is a run."""

    model_path: str
    context: int | None = None  # None: min(8192, the model's maximum)
    device: Device = "auto"
    protocol: int = PROTOCOL
    kv_bits: int = 16  # of keys and values; 8: int8 with a scale for each head and token
    gpus: int = 1  # that share the model, `device` being the first; on the CPU: processes
    split: str = "auto"  # tensor: each has a part of every matrix; layer: some layers; auto: as shapes allow


class StartEndpoint(Request, frozen=True):
    """Talk to a model that an OpenAI-compatible server at `url` serves, with the events of a session.

    With `command` that server is started first, and ends with the session. The token is never in a request:
    the worker reads it from the environment variable `key_variable`.
    """

    url: str
    model: str | None = None  # None: the only one that is served
    key_variable: str = "FQCONSOLE_ENDPOINT_KEY"
    command: tuple[str, ...] = ()
    afterwards: tuple[str, ...] = ()  # run when the server of `command` did not end when told to
    start_seconds: float = 1800.0  # how long that server may take until it answers
    protocol: int = PROTOCOL


class Send(Request, frozen=True):
    """Generate from `messages` (role, content) with the chat template, or from the plain `prompt`.

    Exactly one of the two is set.
    """

    run_id: str
    sampling: Sampling
    prompt: str | None = None
    messages: tuple[tuple[str, str], ...] | None = None


class Stop(Request, frozen=True):
    """End the generation under way, keep its text, stay warm."""


class Pause(Request, frozen=True):
    """Hold a quantize or evaluate job after the matrix or window under way."""


class Resume(Request, frozen=True):
    """Go on after `Pause`."""


class Cancel(Request, frozen=True):
    """End the job (or the session) in order; finished shards stay for a later resume."""


AnySession = StartSession | StartEndpoint  # what takes prompts until it is told to end
AnyRequest = (
    StartQuantize | StartPlan | StartEvaluate | StartTasks | StartExport | StartVerify | StartDescribe
    | StartProbe | StartDownload | StartSession | StartEndpoint | Send | Stop | Pause | Resume | Cancel
)  # fmt: skip
