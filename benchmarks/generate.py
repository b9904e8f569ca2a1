"""Tokens per second of the built-in models, or of random weights at real shapes, at each precision.

    python -m benchmarks.generate [--models demo demo-moe] [--device auto] [--json]
    python -m benchmarks.generate --synthetic llama-8b          # needs a GPU

Prompt 128 tokens, 128 new tokens, greedy, batch 1; the middle of five runs after a warm-up.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks._synthetic import SHAPES, synthetic_inputs
from benchmarks._table import hardware, table
from fqconsole.demo import heldout_text
from fqconsole.generation import open_session
from fqconsole.generation.decoding import DecodeInputs, Generation, generate_tokens
from fqconsole.generation.options import Sampling
from fqconsole.models import describe, resolve_model
from quantizer.device import resolve_device
from quantizer.engine import analyse, quantize

PROMPT, NEW, RUNS = 128, 128, 5
BITS = (8, 4, 3)
GREEDY = Sampling(temperature=0, max_new_tokens=NEW)


@dataclass(frozen=True)
class Line:
    """One row of the table: medians."""

    model: str
    precision: str
    path: str
    weights_bytes: int
    ttft_ms: float
    prefill_tok_s: float
    decode_tok_s: float
    peak_bytes: int


def measure_builtin(model: str, device: str) -> Iterator[Line]:
    """The model in 16 bits and quantized, each opened as any user's would be."""
    description = describe(resolve_model(model))
    if description.path is None:
        raise SystemExit(f"{model} is not on this machine")
    text = heldout_text(20)
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(description.path)]
        for bits in BITS:
            out = Path(folder) / f"int{bits}"
            quantize(description, analyse(description, bits=bits, device=device), out, device=device)
            places.append(out)
        for place in places:
            with open_session(place, device=device) as session:
                _, ids = session.render(text)
                # No end token, so that every run makes the same number of tokens.
                session.end_tokens = frozenset()
                answers = [session.generate(ids[:PROMPT], GREEDY) for _ in range(RUNS)]
                yield _line(model, session.precision, session.matmul_path, session.weights_bytes, answers)


def measure_synthetic(shape: str, device: torch.device) -> Iterator[Line]:
    """Random weights made on the GPU, at every precision."""
    ids = [(7 * i) % 1000 + 3 for i in range(PROMPT)]
    for bits in (None, *BITS):
        inputs, weights_bytes, path = synthetic_inputs(SHAPES[shape], bits, device, PROMPT + NEW)
        for _ in range(2):
            _generate(inputs, ids)
        answers = [_generate(inputs, ids) for _ in range(RUNS)]
        yield _line(shape, f"int{bits}" if bits else "bf16", path, weights_bytes, answers)
        del inputs
        torch.cuda.empty_cache()


def _generate(inputs: DecodeInputs, ids: list[int]) -> Generation:
    return generate_tokens(inputs, ids, GREEDY, lambda: False, lambda text, count, rate: None)


def _line(model: str, precision: str, path: str, weights_bytes: int, answers: list[Generation]) -> Line:
    return Line(
        model=model,
        precision=precision,
        path=path,
        weights_bytes=weights_bytes,
        ttft_ms=median(answer.ttft_ms for answer in answers),
        prefill_tok_s=median(answer.prefill_tok_s for answer in answers),
        decode_tok_s=median(answer.decode_tok_s or 0.0 for answer in answers),
        peak_bytes=max(answer.peak_bytes for answer in answers),
    )


def show(lines: list[Line]) -> str:
    """The table for people."""
    header = ("model", "precision", "path", "weights", "TTFT", "prefill tok/s", "decode tok/s", "peak")
    rows = [
        (
            line.model,
            line.precision,
            line.path,
            _gib(line.weights_bytes),
            f"{line.ttft_ms:.1f} ms",
            f"{line.prefill_tok_s:.0f}",
            f"{line.decode_tok_s:.1f}",
            _gib(line.peak_bytes),
        )
        for line in lines
    ]
    return table(header, rows)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokens per second at each precision.")
    parser.add_argument("--models", nargs="+", default=["demo", "demo-moe"])
    parser.add_argument("--synthetic", choices=sorted(SHAPES), help="random weights at real shapes, on a GPU")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    device = resolve_device(options.device)
    lines: list[Line] = []
    if options.synthetic:
        if device.type != "cuda":
            raise SystemExit("--synthetic needs a GPU: the weights are made on it.")
        lines.extend(measure_synthetic(options.synthetic, device))
    else:
        for model in options.models:
            lines.extend(measure_builtin(model, options.device))
    report: dict[str, Any] = {"hardware": hardware(device), "prompt": PROMPT, "new": NEW, "runs": RUNS}
    if options.json:
        print(json.dumps({**report, "lines": [asdict(line) for line in lines]}))
        return
    print(report["hardware"])
    print(f"prompt {PROMPT}, {NEW} new tokens, batch 1, greedy, median of {RUNS}")
    print(show(lines))


if __name__ == "__main__":
    main()
