"""Where the time of one decode step goes, kernel by kernel.

    python -m benchmarks.decode_profile llama-3-8b qwen3-30b-a3b [--bits 4] [--batches 1 16]

Random weights at real shapes on a GPU, a context that is nearly empty, steps replayed as a session replays
them; the prompt is left out. A kernel that starts while the one before still runs gets the time from that
one's end on, so that the parts add up to the whole; `idle` is when no kernel ran. Launches of one kernel with
other grids are other products. Warps: how many of a multiprocessor's 64 it has at once, filling the GPU.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks._shapes import SHAPES, config_of
from benchmarks._table import hardware, table
from benchmarks.generate import Asked, runner_of

NEW = 64
STEPS = NEW - 1  # the first token is the prompt's
LAST_OF_STEP = "settle_kernel"  # of the choice of a token


@dataclass(frozen=True)
class Form:
    """A kernel as it was launched."""

    name: str
    grid: tuple[int, ...] = ()
    registers: int = 0  # of a thread
    warps: float = 0.0  # of a multiprocessor


IDLE = Form("idle")


@dataclass(frozen=True)
class Span:
    """One kernel's run, in microseconds of the device's clock."""

    form: Form
    begin: float
    end: float


@dataclass(frozen=True)
class Part:
    """What the runs of one form took, together."""

    form: Form
    launches: int
    microseconds: float


def parts_of(spans: Iterable[Span]) -> list[Part]:
    """The spans by form, the longest part first; time that two share belongs to the earlier one."""
    took: dict[Form, float] = defaultdict(float)
    launches: dict[Form, int] = defaultdict(int)
    until: float | None = None
    for span in in_order(spans):
        if until is not None and span.begin > until:
            took[IDLE] += span.begin - until
        since = span.begin if until is None else max(span.begin, until)
        took[span.form] += max(0.0, span.end - since)
        launches[span.form] += 1
        until = span.end if until is None else max(until, span.end)
    parts = [Part(form, launches[form], microseconds) for form, microseconds in took.items()]
    return sorted(parts, key=lambda part: -part.microseconds)


def in_order(spans: Iterable[Span]) -> list[Span]:
    """By their beginning."""
    return sorted(spans, key=lambda span: (span.begin, span.end))


def after_prompt(spans: Iterable[Span]) -> list[Span]:
    """What follows the choice of the first token."""
    ordered = in_order(spans)
    ends = [number for number, span in enumerate(ordered) if span.form.name == LAST_OF_STEP]
    return ordered[ends[0] + 1 :] if ends else ordered


def spans_of(trace: dict[str, Any]) -> list[Span]:
    """The kernels, and the copies on the device, of a trace as torch's profiler writes it."""
    found = []
    for event in trace["traceEvents"]:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            told = event["args"]
            form = Form(
                event["name"],
                tuple(told.get("grid", ())),
                told.get("registers per thread", 0),
                told.get("warps per SM", 0.0),
            )
            found.append(Span(form, event["ts"], event["ts"] + event["dur"]))
    return found


def profile(shape: str, bits: int, batch: int, device: torch.device) -> list[Part]:
    """The parts of STEPS steps of `batch` texts."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorded
    from transformers import CONFIG_MAPPING

    from benchmarks._random_model import fill, model_of
    from fqconsole.generation.assembly import assemble

    fields = config_of(shape, tiny=False)
    torch.manual_seed(0)
    description, model = model_of(CONFIG_MAPPING[fields["model_type"]].from_dict(fields))
    fill(model, description, bits, device)
    decoder = assemble(model, next(p.dtype for p in model.parameters() if p.dim() > 1), device)
    if decoder is None:
        raise SystemExit(f"{shape} has no forward of ours")
    run = runner_of(decoder, [3], Asked(device=device, prompt=1, new=NEW, batch=batch, kv_bits=16))
    run()
    with recorded(activities=[ProfilerActivity.CUDA]) as record:
        run()
        torch.cuda.synchronize(device)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        record.export_chrome_trace(file.name)
        trace = json.loads(Path(file.name).read_text())
    return parts_of(after_prompt(spans_of(trace)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shapes", nargs="+", choices=sorted(SHAPES))
    parser.add_argument("--bits", type=int, choices=(16, 8, 4, 3), default=4)
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("Kernels are profiled on a GPU, and there is none here.")
    device = torch.device("cuda")
    print(hardware(device))
    for shape, batch in product(asked.shapes, asked.batches):
        print(f"\n{shape}, {asked.bits} bits, batch {batch}")
        print(show(profile(shape, asked.bits, batch, device)), flush=True)


def show(parts: Sequence[Part]) -> str:
    """A table for people, a step each."""
    whole = sum(part.microseconds for part in parts)
    rows = [
        (
            part.form.name[:50],
            "x".join(map(str, part.form.grid)),
            str(part.form.registers or ""),
            f"{part.form.warps:.0f}" if part.form.warps else "",
            f"{part.launches / STEPS:.1f}",
            f"{part.microseconds / part.launches:.1f}" if part.launches else "",
            f"{part.microseconds / STEPS:.1f}",
            f"{part.microseconds / whole:.1%}",
        )
        for part in parts
    ]
    heading = ("kernel", "grid", "registers", "warps", "launches a step", "µs each", "µs a step", "share")
    return f"{table(heading, rows)}\n{whole / STEPS:.0f} µs a step"


if __name__ == "__main__":
    main()
