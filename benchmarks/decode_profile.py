"""Where the time of one decode step goes, kernel by kernel.

    python -m benchmarks.decode_profile llama-3-8b qwen3-30b-a3b [--bits 4] [--batches 1 16]

Random weights at real shapes on a GPU, a context that is nearly empty, steps replayed as a session replays
them. A kernel that starts while the one before still runs gets the time from that one's end on, so that the
parts add up to the whole; `idle` is when no kernel ran.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import torch

from benchmarks._shapes import SHAPES, config_of
from benchmarks._table import hardware, table
from benchmarks.generate import Asked, _runner

NEW = 64
IDLE = "idle"


@dataclass(frozen=True)
class Span:
    """One kernel's run, in microseconds of the device's clock."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True)
class Part:
    """What the runs of one kernel took, together."""

    name: str
    launches: int
    microseconds: float


def parts_of(spans: Iterable[Span]) -> list[Part]:
    """The spans by name, the longest part first; time that two share belongs to the earlier one."""
    took: dict[str, float] = defaultdict(float)
    launches: dict[str, int] = defaultdict(int)
    until: float | None = None
    for span in sorted(spans, key=lambda span: (span.begin, span.end)):
        if until is not None and span.begin > until:
            took[IDLE] += span.begin - until
        since = span.begin if until is None else max(span.begin, until)
        took[span.name] += max(0.0, span.end - since)
        launches[span.name] += 1
        until = span.end if until is None else max(until, span.end)
    parts = [Part(name, launches[name], microseconds) for name, microseconds in took.items()]
    return sorted(parts, key=lambda part: -part.microseconds)


def profile(shape: str, bits: int, batch: int, device: torch.device) -> list[Part]:
    """The parts of NEW steps of `batch` texts."""
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
    run = _runner(decoder, [3], Asked(device=device, prompt=1, new=NEW, batch=batch, kv_bits=16))
    run()
    with recorded(activities=[ProfilerActivity.CUDA]) as record:
        run()
        torch.cuda.synchronize(device)
    kernels = [event for event in record.events() if event.device_type.name == "CUDA"]
    return parts_of(Span(event.name, event.time_range.start, event.time_range.end) for event in kernels)


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
            part.name[:60],
            f"{part.launches / NEW:.1f}",
            f"{part.microseconds / NEW:.1f}",
            f"{part.microseconds / whole:.1%}",
        )
        for part in parts
    ]
    heading = ("kernel", "launches a step", "µs a step", "share")
    return f"{table(heading, rows)}\n{whole / NEW:.0f} µs a step"


if __name__ == "__main__":
    main()
