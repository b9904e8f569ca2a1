"""The probe job: what a process takes on a device besides its model, and how fast memory is read there.

On a GPU NVML's view of the whole card is read before CUDA starts and after each step; what torch itself
reserved is taken off. Another program that starts or ends meanwhile is counted too: probe a quiet card.
"""

import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from fqconsole.device_probe import Probe
from fqconsole.errors import OperatorError
from fqconsole.fit.probe import host_name, version_of
from fqconsole.gpus import GpuSnapshot, open_gpus
from fqconsole.jobs.desk import Desk
from fqconsole.jobs.messages import ProbeDone, StartProbe
from fqconsole.models import describe, resolve_model

smallest_change = "Free memory on the GPU, or probe with --device cpu."
MODEL = "demo"  # what is loaded for a moment, so that everything a session needs is there
ROWS = (1, 8, 16, 33, 64, 300, 700)  # of x: one for each kernel that the number of rows chooses
READ_BYTES = {"cpu": 256 << 20, "cuda": 4 << 30}
REPEATS = 7
PIECES = 400  # allocations that the allocator's rounding is measured with
STEPS = 5


def run(request: StartProbe, desk: Desk) -> None:
    """Measure `request.device` in about ten seconds."""
    started = time.perf_counter()
    desk.watch.phase("probe", STEPS, "steps")
    before = _readings()
    import torch

    from quantizer.device import resolve_device

    device = resolve_device(request.device)
    card = before.get(_uuid(torch, device)) if device.type == "cuda" else None
    held = _Held(torch, device, card)
    context = held.beyond(lambda: torch.zeros(1, device=device))
    desk.watch.progress(1, note="context")
    _use_a_session(device)
    desk.watch.progress(2, note="session")
    if device.type == "cuda":
        _use_kernels(torch, device)
    kernels = max(0, held.beyond(gc.collect) - context)
    workspace = int(torch.cuda.memory_allocated(device)) if device.type == "cuda" else 0
    process = psutil.Process().memory_info().rss
    desk.watch.progress(3, note="kernels")
    rounding = _rounding(torch, device) if device.type == "cuda" else 0.0
    desk.watch.progress(4, note="allocator")
    bandwidth = _bandwidth(torch, device)
    desk.watch.progress(STEPS, note="bandwidth")
    desk.put(
        ProbeDone(
            t=time.time(),
            probe=Probe(
                device=_name(torch, device),
                driver=card.driver if card is not None else "",
                torch=version_of("torch"),
                triton=version_of("triton"),
                t=time.time(),
                process_bytes=process,
                context_bytes=context,
                kernels_bytes=kernels,
                workspace_bytes=workspace,
                rounding=rounding,
                bandwidth=bandwidth,
                seconds=time.perf_counter() - started,
            ),
        )
    )


class _Held:
    """What the card holds beyond torch's own memory and what was there before."""

    def __init__(self, torch: Any, device: Any, card: GpuSnapshot | None) -> None:
        self._torch = torch
        self._device = device
        self._before = card.memory_used if card is not None else None

    def beyond(self, step: Callable[[], Any]) -> int:
        """Bytes after `step`; 0 on the host. Raises OperatorError where the card can't be read."""
        step()
        if self._device.type != "cuda":
            return 0
        self._torch.cuda.synchronize(self._device)
        self._torch.cuda.empty_cache()
        now = _readings().get(_uuid(self._torch, self._device))
        if self._before is None or now is None or now.memory_used is None:
            raise OperatorError(
                "NVML does not tell the memory of this GPU, so nothing can be measured.",
                "See fqconsole doctor.",
            )
        reserved = int(self._torch.cuda.memory_reserved(self._device))
        return max(0, now.memory_used - self._before - reserved)


def _readings() -> dict[str, GpuSnapshot]:
    """The cards by uuid, as torch writes it."""
    return {snapshot.uuid.removeprefix("GPU-"): snapshot for snapshot in open_gpus().sample()}


def _uuid(torch: Any, device: Any) -> str:
    return str(torch.cuda.get_device_properties(device).uuid).removeprefix("GPU-")


def _name(torch: Any, device: Any) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device)).removeprefix("NVIDIA ")
    return host_name()


def _use_a_session(device: Any) -> None:
    """Load the built-in model and let it answer: libraries load what they need, and keep it."""
    from fqconsole.generation import open_session
    from fqconsole.generation.options import Sampling

    path = Path(str(describe(resolve_model(MODEL)).path))
    with open_session(path, device=str(device)) as session:
        _, ids = session.render("Once upon a time")
        session.generate(
            ids, Sampling(temperature=0.0, max_new_tokens=16), on_tokens=lambda text, count, tok_s: None
        )


def _use_kernels(torch: Any, device: Any) -> None:
    """Multiply with a matrix of every width and with as many rows as choose each kernel."""
    import kernels
    from quantizer.scheme import BITS

    for bits in BITS:
        codes = torch.zeros((512, 512), dtype=torch.int8)
        packed = kernels.PackedMatrix(
            codes=kernels.packing.pack_codes(codes, bits),
            scales=torch.ones((512, 8), dtype=torch.bfloat16),
            bits=bits,
            group_size=64,
            k=512,
        )
        matrix = kernels.prepare(packed, device=device, dtype=torch.bfloat16)
        for rows in ROWS:
            kernels.linear(torch.zeros((rows, 512), dtype=torch.bfloat16, device=device), matrix)
    torch.cuda.synchronize(device)


def _rounding(torch: Any, device: Any) -> float:
    """What the allocator reserves on top of pieces of many sizes, as a part of them."""
    torch.cuda.empty_cache()
    reserved = int(torch.cuda.memory_reserved(device))
    allocated = int(torch.cuda.memory_allocated(device))
    sizes = [1 + (number * 7919 % 9973) * 4096 for number in range(PIECES)]
    pieces = [torch.empty(size, dtype=torch.uint8, device=device) for size in sizes]
    taken = int(torch.cuda.memory_reserved(device)) - reserved
    asked = int(torch.cuda.memory_allocated(device)) - allocated
    pieces.clear()
    torch.cuda.empty_cache()
    return taken / asked - 1


def _bandwidth(torch: Any, device: Any) -> int:
    """Bytes a second of the faster of reading and copying much memory; the median of several."""
    wanted = READ_BYTES[device.type]
    if device.type == "cuda":
        wanted = min(wanted, int(torch.cuda.mem_get_info(device)[0]) // 4)
    source = torch.zeros(wanted // 8, dtype=torch.int64, device=device)
    target = torch.empty_like(source)
    ways = ((wanted, source.max), (2 * wanted, lambda: target.copy_(source)))
    best = max(count / _seconds(torch, device, way) for count, way in ways)
    return int(best)


def _seconds(torch: Any, device: Any, way: Callable[[], Any]) -> float:
    taken = []
    for _ in range(REPEATS):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        way()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])
