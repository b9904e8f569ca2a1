"""Everything that needs a GPU, one after the other: `python -m benchmarks.on_gpu --out DIR [--seconds 560]`.

Tests come before benchmarks. What each part prints lies in DIR/PART.txt as it comes, so that a run that is
cut off leaves what it had. A part starts only if the time it may need is left; the table at the end names
those that did not, and `--only` runs them later. Exit code 1 if a part failed, 2 without a GPU.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks._table import hardware, table

KERNELS = "-m benchmarks.kernels --seconds 500"
PYTEST = "-m pytest -q -p no:cacheprovider -m gpu"


@dataclass(frozen=True)
class Part:
    """One command of this Python; `seconds` is the most it may take, `{out}` in it is the folder.

    It needs `gpus` GPUs.
    """

    name: str
    arguments: str
    seconds: int
    gpus: int = 1


PARTS = (
    Part("test-kernels", f"{PYTEST} -n 8 tests/kernels", 240),
    Part("test-session", f"{PYTEST} tests/generation tests/transformers", 150),
    Part("test-quantizer", f"{PYTEST} tests/quantizer tests/jobs tests/gpus", 120),
    Part("doctor", "-m fqconsole doctor --deep", 60),
    Part("decode-step", "-m benchmarks.decode_parts", 60),
    Part("decode-layer", "-m benchmarks.decode_layer --models llama-3-8b llama-3-70b", 90),
    Part("decode-profile", "-m benchmarks.decode_profile llama-3-8b qwen3-30b-a3b --batches 1 16", 90),
    Part("generate", "-m benchmarks.generate_table --out {out} --budget 500", 560),
    Part("fit", "-m benchmarks.fit --out {out}/fit.json", 240),
    Part("fit-several", "-m benchmarks.fit_several --place /dev/shm --out {out}/several.json", 240, gpus=2),
    Part("several-gpus", "-m benchmarks.several_gpus /dev/shm/l70 --shape llama-3-70b", 240, gpus=2),
    Part("quantize", "-m benchmarks.quantize --gigabytes 20 --place /dev/shm", 240),
    Part("quality", "-m benchmarks.quality --tokens 32768 --device cuda", 240),
    Part("soak", "-m benchmarks.soak --device cuda --answers 200 --quantize 20", 240),
    Part("tiles", "-m benchmarks.kernels.tiles --seconds 240 --json {out}/tiles.json", 300),
    Part("fused-tiles", "-m benchmarks.kernels.tiles.fused --rows 1 16 --seconds 120", 180),
    Part("kernels", f"{KERNELS} --json {{out}}/kernels.json --markdown {{out}}/kernels.md", 560),
)


@dataclass(frozen=True)
class Result:
    """How a part went: its seconds, and its exit code or why it has none."""

    part: Part
    seconds: float
    ended: str


def run(part: Part, out: Path) -> Result:
    """Run one part; its output goes to a file, its process group ends with its time."""
    words = [sys.executable, *shlex.split(part.arguments.format(out=shlex.quote(str(out))))]
    begun = time.monotonic()
    with (out / f"{part.name}.txt").open("wb") as said:
        process = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            ended = f"exit {process.wait(part.seconds)}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            ended = f"cut off after {part.seconds} s"
    return Result(part, time.monotonic() - begun, ended)


def run_all(parts: tuple[Part, ...], out: Path, seconds: float) -> list[Result]:
    """The parts in their order, as far as the time goes."""
    begun = time.monotonic()
    results = []
    for part in parts:
        left = seconds - (time.monotonic() - begun)
        result = run(part, out) if part.seconds <= left else Result(part, 0.0, "no time was left")
        results.append(result)
        print(f"{part.name}: {result.ended}, {result.seconds:.0f} s", flush=True)
    return results


def main() -> int:
    """Run what was asked for and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, help="folder for what the parts print")
    parser.add_argument("--seconds", type=float, default=3600.0, help="for all parts together")
    parser.add_argument(
        "--only", nargs="+", choices=[part.name for part in PARTS], help="these parts, in this order"
    )
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here that torch can use: `fqconsole doctor` says what is missing.")
        return 2
    asked.out.mkdir(parents=True, exist_ok=True)
    known = {part.name: part for part in PARTS}
    parts = tuple(known[name] for name in asked.only) if asked.only else PARTS
    parts = tuple(part for part in parts if part.gpus <= torch.cuda.device_count())
    results = run_all(parts, asked.out, asked.seconds)
    lines = [(result.part.name, f"{result.seconds:.0f} s", result.ended) for result in results]
    print(hardware(torch.device("cuda")))
    print(table(("part", "time", "how it ended"), lines))
    return int(any(result.ended not in ("exit 0", "no time was left") for result in results))


if __name__ == "__main__":
    sys.exit(main())
