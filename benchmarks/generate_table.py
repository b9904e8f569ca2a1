"""The whole table of generation in one call, as far as a budget of time goes, the most telling figures first.

    python -m benchmarks.generate_table --out DIR --budget 540                # on a GPU
    python -m benchmarks.generate_table --out DIR --only llama-3-8b --tiny --device cpu

Random weights at real shapes, measured as `benchmarks.generate` does. After every point DIR/generate.json and
DIR/generate.md are written, so that a run that is cut off leaves what it had; a later call with the same DIR
on the same hardware measures what is missing. A point is left out while it may need more time than there is,
or more memory than is free; a point that failed is tried again.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks._shapes import config_of
from benchmarks._table import hardware
from benchmarks.generate import Asked, Line, bandwidth_of, measure_shape
from fqconsole.generation.device import free_bytes
from fqconsole.models.description import ModelDescription
from quantizer import base_plan
from quantizer.device import resolve_device
from quantizer.plan import predicted_bytes

GIB = 1 << 30
NEW = 128
START = "first token"
PEER = "transformers"
FIRST_SECONDS = 60.0  # what the first point may need: kernels are compiled
START_SECONDS = 120.0  # what the starts may need: three of them, two after a spare has loaded its libraries
LEAST_SECONDS = 10.0  # of any other
SLACK = 1.3  # a point may need so many times what the slowest GiB so far did
ROOM = 0.92  # of what is free, for weights
RUNS_AFTER = "median of 5 runs after one"
PAPER = (
    "The paper that this follows, for OPT-175B with input 128 and output 128 on a node of 8 A100: 25 tok/s "
    "in FP16, 91 tok/s in INT4 by four instances."
)


@dataclass(frozen=True)
class Point:
    """One figure: a shape in some bits, or what a first token takes from the start of a process."""

    shape: str
    bits: int = 4
    batch: int = 1
    prompt: int = 128
    head: int = 16
    kind: str = "ours"

    @property
    def name(self) -> str:
        """By which it is found again."""
        head = "" if self.head == 16 else f" head int{self.head}"
        precision = "16-bit" if self.bits == 16 else f"int{self.bits}"
        other = "" if self.kind == "ours" else f", {self.kind}"
        return f"{self.shape} {precision}{head}, batch {self.batch}, prompt {self.prompt}{other}"


POINTS = (
    Point("llama-3-8b"),
    Point("llama-3-8b", 16),
    Point("llama-3-8b", batch=16),
    Point("llama-3-8b", 16, batch=16),
    Point("qwen3-30b-a3b"),
    Point("opt-30b"),
    Point("opt-30b", 16),
    Point("llama-3-70b"),
    Point("opt-66b"),
    Point("llama-3-8b", kind=START),
    Point("opt-175b"),
    Point("llama-3-8b", 8),
    Point("llama-3-8b", 3),
    Point("llama-3-8b", prompt=2048),
    Point("llama-3-8b", 16, prompt=2048),
    Point("llama-3-8b", head=8),
    Point("llama-3-8b", head=4),
    Point("llama-3-8b", 16, kind=PEER),
    Point("qwen3-30b-a3b", 16),
    Point("llama-3-8b", 8, prompt=2048),
    Point("llama-3-8b", 3, prompt=2048),
    Point("llama-3-8b", 8, batch=16),
    Point("llama-3-8b", 3, batch=16),
    Point("qwen3-30b-a3b", 8),
    Point("qwen3-30b-a3b", 3),
    Point("opt-30b", 8),
    Point("opt-30b", 3),
    *(Point(shape, prompt=2048) for shape in ("qwen3-30b-a3b", "llama-3-70b")),
    *(Point(shape, prompt=2048 - NEW) for shape in ("opt-30b", "opt-66b")),  # they have 2048 positions
    *(Point(shape, batch=16) for shape in ("qwen3-30b-a3b", "opt-30b", "llama-3-70b", "opt-66b")),
)


class Record:
    """What was measured so far, in a folder; `points` by name."""

    def __init__(self, out: Path, device: str) -> None:
        """Raises SystemExit where the folder holds what other hardware measured."""
        out.mkdir(parents=True, exist_ok=True)
        self._out = out
        self.said: dict[str, Any] = {"hardware": device, "bytes_per_second": None, "points": {}}
        path = out / "generate.json"
        if path.exists():
            before = json.loads(path.read_text())
            if before["hardware"] != device:
                raise SystemExit(f"{path} was measured on {before['hardware']}; name another --out")
            self.said = before

    @property
    def points(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.said["points"]
        return found

    def is_measured(self, point: Point) -> bool:
        """Whether it need not be measured again."""
        return bool(
            self.points.get(point.name, {}).get("lines") or self.points.get(point.name, {}).get("starts")
        )

    def add(self, point: Point, **found: Any) -> None:
        """Keep it on disk at once."""
        self.points[point.name] = {"point": asdict(point), **found}
        self.write()

    def write(self) -> None:
        """Both files, each whole or as it was."""
        for name, text in (
            ("generate.json", json.dumps(self.said, indent=1)),
            ("generate.md", markdown(self.said)),
        ):
            unfinished = self._out / f".{name}"
            unfinished.write_text(text + "\n")
            unfinished.replace(self._out / name)


def measure(
    point: Point, device: torch.device, bandwidth: float, *, tiny: bool, place: Path | None
) -> dict[str, Any]:
    """What the record keeps of a point."""
    if point.kind == START:
        return {"starts": [asdict(start) for start in _starts(point, device, tiny=tiny, place=place)]}
    asked = Asked(
        device=device,
        prompt=point.prompt,
        new=NEW,
        batch=point.batch,
        kv_bits=16,
        bits=(point.bits,),
        head=point.head,
    )
    peers = point.kind == PEER
    lines = list(measure_shape(point.shape, asked, bandwidth, tiny=tiny, peers=peers))
    return {"lines": [asdict(line) for line in lines if (line.path == "transformers") == peers]}


def _starts(point: Point, device: torch.device, *, tiny: bool, place: Path | None) -> list[Any]:
    from benchmarks.first_token import measure_start
    from benchmarks.random_checkpoint import write_random_checkpoint

    with tempfile.TemporaryDirectory(dir=place) as folder:
        made = Path(folder) / point.shape
        write_random_checkpoint(point.shape, made, bits=point.bits, tiny=tiny)
        return measure_start(made, str(device))


def describe(shape: str, *, tiny: bool) -> ModelDescription:
    """A shape as its config tells it."""
    from transformers import CONFIG_MAPPING

    from benchmarks._random_model import model_of

    fields = config_of(shape, tiny)
    return model_of(CONFIG_MAPPING[fields["model_type"]].from_dict(fields))[0]


def size_of(description: ModelDescription, bits: int) -> int:
    """Bytes of the weights, as the plan has them."""
    if bits == 16:
        return description.bytes
    plan = base_plan(description, bits)
    return predicted_bytes(plan) + sum(tensor.bytes for tensor in plan.kept)


def seconds_for(size: int, record: Record) -> float:
    """What a point of so many bytes may need, by the slowest GiB so far."""
    done = [held for held in record.points.values() if held.get("seconds") and held.get("lines")]
    if not done:
        return FIRST_SECONDS
    dearest = max((held["seconds"] - LEAST_SECONDS) / max(1.0, held["bytes"] / GIB) for held in done)
    return LEAST_SECONDS + SLACK * max(0.0, dearest) * size / GIB


def run(
    points: Sequence[Point],
    record: Record,
    device: torch.device,
    budget: float,
    *,
    tiny: bool,
    place: Path | None,
) -> list[str]:
    """Measure what is missing, in order, while time is left; returns why points were left out."""
    begun = time.monotonic()
    bandwidth = bandwidth_of(device)
    record.said["bytes_per_second"] = bandwidth
    left_out = []
    known: dict[str, ModelDescription] = {}
    for point in points:
        if record.is_measured(point):
            continue
        if point.shape not in known:
            known[point.shape] = describe(point.shape, tiny=tiny)
        size = size_of(known[point.shape], point.bits)
        left = budget - (time.monotonic() - begun)
        needed = START_SECONDS if point.kind == START else seconds_for(size, record)
        room = free_bytes(device)
        if needed > left:
            left_out.append(f"{point.name}: {needed:.0f} s may be needed, {max(0.0, left):.0f} s are left")
        elif room is not None and size > ROOM * room:
            left_out.append(f"{point.name}: {size / GIB:.1f} GiB of weights, {room / GIB:.1f} GiB are free")
        else:
            at = time.monotonic()
            try:
                found = measure(point, device, bandwidth, tiny=tiny, place=place)
            except Exception as error:  # noqa: BLE001 - the others are still to be measured
                found = {"failed": f"{type(error).__name__}: {error}".partition("\n")[0]}
            record.add(point, **found, bytes=size, seconds=round(time.monotonic() - at, 1))
            if is_device_lost(found):
                left_out.append("all that follows: the GPU answers no more in this process; start again")
                break
            print(
                f"{point.name}: {record.points[point.name]['seconds']} s {found.get('failed', '')}",
                flush=True,
            )
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    record.write()
    return left_out


def is_device_lost(found: dict[str, Any]) -> bool:
    """Whether a point failed in a way that all later ones would."""
    return "CUDA error" in found.get("failed", "")


def markdown(said: dict[str, Any]) -> str:
    """The tables for people, of what is there."""
    speed = said["bytes_per_second"]
    head = [said["hardware"]]
    head += (
        [] if speed is None else [f"streaming read {speed / 1e9:.0f} GB/s, {NEW} new tokens, {RUNS_AFTER}"]
    )
    parts = ["; ".join(head), _speeds(said["points"]), _starting(said["points"])]
    if any(held["point"]["shape"] == "opt-175b" for held in said["points"].values()):
        parts.append(PAPER)
    failed = [f"- {name}: {held['failed']}" for name, held in said["points"].items() if "failed" in held]
    return "\n\n".join(part for part in (*parts, "\n".join(failed)) if part)


def _speeds(points: dict[str, dict[str, Any]]) -> str:
    rows = []
    for held in points.values():
        point = Point(**held["point"])
        wide = points.get(Point(point.shape, 16, point.batch, point.prompt).name, {}).get("lines")
        for found in held.get("lines", ()):
            line = Line(**found)
            gain = "" if not wide else f"{line.decode_tok_s / wide[0]['decode_tok_s']:.2f}"
            limit = line.limit_tok_s
            rows.append(
                (
                    line.model,
                    line.path if line.path == PEER else line.precision,
                    str(point.batch),
                    str(point.prompt),
                    _gib(line.weights_bytes),
                    "" if line.peak_bytes is None else _gib(line.peak_bytes),
                    f"{line.ttft_ms:.1f}",
                    f"{line.prefill_tok_s:.0f}",
                    f"{line.decode_tok_s:.1f}",
                    "" if limit is None else f"{limit:.0f}",
                    "" if limit is None else f"{line.decode_tok_s / limit:.0%}",
                    gain,
                    "" if line.joules_per_token is None else f"{line.joules_per_token:.3f}",
                )
            )
    columns = (
        "model", "weights in", "batch", "prompt", "weights GiB", "peak GiB", "TTFT ms", "prefill tok/s",
        "decode tok/s", "limit tok/s", "of the limit", "× 16-bit", "J/token",
    )  # fmt: skip
    return _table(columns, rows)


def _starting(points: dict[str, dict[str, Any]]) -> str:
    rows = [
        (
            name.removesuffix(f", {START}"),
            start["cache"],
            "waits" if start.get("spare") else "started",
            *(f"{start[key]:.1f}" for key in ("load", "ready", "first_token")),
        )
        for name, held in points.items()
        for start in held.get("starts", ())
    ]
    return _table(("from Enter, seconds", "kernel cache", "worker", "loading", "ready", "first token"), rows)


def _gib(count: int) -> str:
    return f"{count / GIB:.2f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of generate.json and generate.md")
    parser.add_argument("--budget", type=float, default=540.0, metavar="SECONDS")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help="points with one of these words in their name"
    )
    parser.add_argument("--place", type=Path, help="where the checkpoint of the first token goes for a while")
    parser.add_argument("--tiny", action="store_true", help="keep the kinds of the shapes, not their sizes")
    asked = parser.parse_args()
    device = resolve_device(asked.device)
    points = [point for point in POINTS if not asked.only or any(word in point.name for word in asked.only)]
    record = Record(asked.out, hardware(device) + (", tiny shapes" if asked.tiny else ""))
    for reason in run(points, record, device, asked.budget, tiny=asked.tiny, place=asked.place):
        print(f"left out: {reason}")
    print(markdown(record.said))


if __name__ == "__main__":
    main()
