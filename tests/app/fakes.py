"""Stand-ins for the rooms below: the same answers every time, at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fqconsole.app.model_parts import ModelParts
from fqconsole.app.remembered import Remembered
from fqconsole.app.services import HostMemory, Services
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import AnyEvent, JobDone, Request, StartDownload, StartEvaluate, StartQuantize
from fqconsole.models.description import LayerAttention, ModelDescription, ModelEntry

GIB = 2**30
NOW = 1_763_827_200.0  # the frozen clock: 2025-11-22 16:00 UTC


def description(
    model_id: str,
    *,
    parameters: int,
    layers: int = 36,
    hidden: int = 4096,
    heads: int = 32,
    kv_heads: int = 8,
    head_dim: int = 128,
    vocab: int = 151_936,
    context: int = 40_960,
    experts: int = 0,
    kind: str = "full",
    source: str = "cache",
    architecture: str = "Qwen3ForCausalLM",
    tied: bool = False,
    prompt: str | None = None,
    bytes_: int | None = None,
) -> ModelDescription:
    layer = LayerAttention(kind=kind, kv_heads=kv_heads, head_dim=head_dim, value_head_dim=head_dim)  # type: ignore[arg-type]
    return ModelDescription(
        id=model_id,
        source=source,  # type: ignore[arg-type]
        path=f"/models/{model_id}",
        revision="9c925d64" if source == "cache" else None,
        architecture=architecture,
        model_type=architecture.removesuffix("ForCausalLM").lower(),
        dtype="bfloat16",
        parameters=parameters,
        bytes=bytes_ or parameters * 2,
        layers=layers,
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        heads=heads,
        vocab_size=vocab,
        context_length=context,
        tied_embeddings=tied,
        experts=experts,
        experts_per_token=8 if experts else 0,
        attention=(layer,) * layers,
        tensors=(),
        license="apache-2.0",
        suggested_prompt=prompt,
    )


DEMO = description(
    "demo",
    parameters=6_300_000,
    layers=6,
    hidden=256,
    heads=8,
    kv_heads=4,
    head_dim=32,
    vocab=4096,
    context=512,
    source="builtin",
    architecture="LlamaForCausalLM",
    tied=True,
    prompt="Mira found a lantern in the old barn.",
)
QWEN = description("Qwen/Qwen3-8B", parameters=8_190_735_360)
LLAMA = description(
    "meta-llama/Llama-3.1-70B-Instruct",
    parameters=70_553_706_496,
    layers=80,
    hidden=8192,
    heads=64,
    vocab=128_256,
    context=131_072,
    architecture="LlamaForCausalLM",
)
BIG_MOE = description(
    "Qwen/Qwen3-235B-A22B",
    parameters=235_093_634_560,
    layers=94,
    heads=64,
    kv_heads=4,
    experts=128,
    architecture="Qwen3MoeForCausalLM",
)
WIDE = description(
    "yunwei/千问-小说🙂", parameters=1_543_714_304, layers=28, hidden=1536, heads=12, kv_heads=2
)
DESCRIPTIONS = {item.id: item for item in (DEMO, QWEN, LLAMA, BIG_MOE, WIDE)}
BROKEN = ModelEntry(
    "old/pickled-model",
    "cache",
    "/models/old/pickled-model",
    problem="The weights are pickle files, which are not loaded. Convert them to safetensors.",
)


def no_hub(model_id: str) -> ModelDescription:
    raise OperatorError(
        f"The hub can't be reached to describe {model_id}.", "Check the network, then press r."
    )


def no_config(*words: Any) -> Any:
    raise OperatorError(f"{words[0]} is no file.", "Type the path of a config.json, or of a folder.")


def entry(model: ModelDescription) -> ModelEntry:
    return ModelEntry(model.id, model.source, model.path, model.revision)


ENTRIES = [*(entry(item) for item in DESCRIPTIONS.values()), BROKEN]


@dataclass(frozen=True)
class FakeGpu:
    """A GpuSnapshot's fields, as fqconsole.gpus makes them."""

    index: int
    name: str = "NVIDIA H100 80GB HBM3"
    uuid: str = "GPU-0"
    memory_total: int | None = int(79.6 * GIB)
    memory_used: int | None = int(0.6 * GIB)
    memory_free: int | None = int(79.0 * GIB)
    utilization: float | None = 0.0
    power_watts: float | None = 73.0
    power_limit_watts: float | None = 700.0
    temperature: float | None = 35.0
    sm_clock_mhz: float | None = 345.0
    throttle: tuple[str, ...] = ()
    processes: tuple[Any, ...] = ()
    t: float = NOW
    mig: tuple[Any, ...] = ()


@dataclass(frozen=True)
class FakeProcess:
    pid: int | None
    name: str
    user: str
    memory_bytes: int | None
    ours: bool


@dataclass
class FakeGpus:
    """A GpuWatcher that repeats the same readings."""

    readings: tuple[FakeGpu, ...] = ()
    problem: str = ""

    @property
    def available(self) -> bool:
        return bool(self.readings)

    def sample(self) -> tuple[FakeGpu, ...]:
        return self.readings


@dataclass
class FakeJob:
    """A worker that tells `script`, waits at `hold` until released, and notes what it is asked."""

    script: Sequence[AnyEvent]
    hold: int | None = None
    asked: list[Request] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False
    extra: asyncio.Queue[AnyEvent] = field(default_factory=asyncio.Queue)

    async def events(self) -> AsyncIterator[AnyEvent]:
        for index, event in enumerate(self.script):
            if index == self.hold:
                await self.released.wait()
                while not self.extra.empty():
                    yield self.extra.get_nowait()
                if self.cancelled:
                    return
            yield event

    async def send(self, request: Request) -> None:
        self.asked.append(request)

    async def cancel(self) -> None:
        self.cancelled = True
        self.extra.put_nowait(JobDone(t=NOW, run_id="r0001", status="cancelled"))
        self.released.set()

    async def wait(self) -> int:
        return 130 if self.cancelled else 0


class FakeRecorder:
    """Keeps what it was fed."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def feed(self, event: AnyEvent) -> None:
        self.store.fed.append(event)

    def feed_gpus(self, run_id: str, snapshots: tuple[Any, ...]) -> None:
        self.store.gpu_readings.append((run_id, snapshots))


class FakeStore:
    """Holds the fed events; screens that read runs use a real Store on a temporary file instead."""

    def __init__(self) -> None:
        self.fed: list[AnyEvent] = []
        self.begun: list[Request] = []
        self.gpu_readings: list[Any] = []

    def list_runs(self, *_words: Any, **_options: Any) -> list[Any]:
        return []

    def memory_history(self) -> list[Any]:
        return []

    def close(self) -> None:
        pass


class FakeBeginnings:
    """`fqconsole.jobs.runs` without a database: run ids count up."""

    def begin_quantize(self, store: FakeStore, **options: Any) -> StartQuantize:
        for name in ("revision", "predicted", "predicted_gpu"):
            options.pop(name, None)
        request = StartQuantize(run_id=f"r{len(store.begun) + 1:04}", **options)
        store.begun.append(request)
        return request

    def begin_download(self, store: FakeStore, model_id: str) -> StartDownload:
        request = StartDownload(run_id=f"r{len(store.begun) + 1:04}", model_id=model_id)
        store.begun.append(request)
        return request

    def begin_evaluate(self, store: FakeStore, **options: Any) -> StartEvaluate:
        request = StartEvaluate(run_id=f"r{len(store.begun) + 1:04}", **options)
        store.begun.append(request)
        return request


class JobScripts:
    """The injected job starter: hands out a FakeJob for each kind of request and remembers them all."""

    def __init__(self, **scripts: FakeJob) -> None:
        self.scripts = scripts
        self.started: list[tuple[Request, FakeJob]] = []

    async def __call__(self, request: Request) -> FakeJob:
        kind = type(request).__name__.removeprefix("Start").lower()
        job = self.scripts.get(kind) or FakeJob(())
        self.started.append((request, job))
        return job


def fake_services(
    *,
    entries: Sequence[ModelEntry] = ENTRIES,
    gpus: FakeGpus | None = None,
    jobs: JobScripts | None = None,
    **changes: Any,
) -> Services:
    """Everything an app needs, with no machine behind it; `changes` replaces single services."""
    from tests.app import fake_fit, fake_plan

    services = Services(
        list_models=lambda: list(entries),
        describe=lambda item: DESCRIPTIONS[item.id],
        describe_hub=no_hub,
        summaries=lambda: {
            "demo": "A small Llama that writes five-sentence stories; trained with this project."
        },
        preview=fake_fit.preview,
        capacity_here=fake_fit.capacity_here,
        named_capacities=fake_fit.named_capacities,
        base_plan=fake_plan.base_plan,
        open_gpus=lambda: gpus or FakeGpus(problem="no NVIDIA driver"),
        host_memory=lambda: HostMemory(used=int(3.1 * GIB), total=int(23.4 * GIB), cpu=37.0),
        disk_free=lambda _path: 180 * GIB,
        open_store=FakeStore,
        sweep=lambda _store: [],
        make_recorder=FakeRecorder,
        start_job=jobs or JobScripts(),
        begin=FakeBeginnings(),
        suggest_checkpoint_path=lambda model_id, bits, granularity, group_size, head: Path(
            f"/data/checkpoints/{model_id.replace('/', '--')}-int{bits}-{granularity}"
            f"{'' if head == 16 else f'-head{head}'}"
        ),
        parts=lambda about: ModelParts(),
        planner=lambda about, choice: None,
        plan_memory=fake_fit.FakePlanMemory,
        first_guess=lambda size, mode, planned: 2.0 + size * (3.5e-9 if planned else 5.3065e-9),
        save_plan=lambda plan: Path(f"/cache/plans/{plan.target.replace(' ', '-')}.json"),
        unfinished=lambda _store: [],
        keep_probe=lambda _probe: None,
        open_config=no_config,
        describe_config=no_config,
        find_model=no_config,
        download_folder=lambda: Path("/data/hub"),
        remembered=Remembered(Path("/proc/no-such-folder/console.json")),
        clock=lambda: NOW,
        gpu_interval=0,
        version="0.0.0",
    )
    return replace(services, **changes)
