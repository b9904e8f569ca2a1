"""The memory preview against the memory that is really taken, for models of real shapes with random weights.

    python -m benchmarks.fit                        # every combination, each in a process of its own
    python -m benchmarks.fit --only llama-3-8b --bits 4 --context 8192 --batch 1
    python -m benchmarks.fit --tiny --device cpu    # the same path with tiny models, weights and cache only

A prompt of `context` tokens for `batch` sequences goes through in the pieces that generation uses, then one
step is decoded, and all of that once more: the second prompt finds the captured step's memory taken. Measured
are torch's peak (weights, cache, activations), what its allocator reserved beyond that, and what NVML shows
on the whole card beside torch's memory (runtime); total is all of it. The GPU must be quiet.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._shapes import config_of

Combination = tuple[str, int, int, int]  # model, bits, context, batch
COMBINATIONS = (
    ("llama-3-8b", 16, 8192, 1), ("llama-3-8b", 8, 2048, 4), ("llama-3-8b", 4, 8192, 1),
    ("llama-3-8b", 3, 512, 1), ("llama-3-8b", 4, 32768, 1), ("llama-3-8b", 4, 2048, 16),
    ("qwen3-8b", 4, 8192, 1), ("qwen3-8b", 16, 32768, 1), ("mistral-7b", 8, 8192, 1),
    ("gemma-3-12b", 4, 8192, 1), ("gemma-3-12b", 16, 2048, 1), ("qwen3-30b-a3b", 4, 8192, 1),
    ("qwen3-30b-a3b", 16, 2048, 1), ("opt-30b", 4, 2048, 4), ("opt-30b", 16, 2048, 1),
)  # fmt: skip
READY = 3  # processes that are started: one that measures, and the next ones
TERMS = ("weights", "kv", "activations", "allocator", "runtime", "total")


def measure(
    combination: Combination, device_word: str, *, tiny: bool, wait: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Term → predicted and measured bytes of one combination, in this process.

    `wait` is called before anything touches the GPU: what takes seconds until there can go on beside another.
    """
    import torch
    from transformers import CONFIG_MAPPING

    from benchmarks._random_model import fill, model_of
    from fqconsole.fit import Capacity, preview
    from fqconsole.fit.capacity import capacity_here
    from fqconsole.fit.probe import probed
    from fqconsole.generation.assembly import assemble
    from fqconsole.generation.batch import BatchSteps
    from fqconsole.generation.static_cache import StaticCache
    from fqconsole.gpus import open_gpus

    name, bits, context, batch = combination
    torch.manual_seed(0)
    device = torch.device(device_word)
    fields = config_of(name, tiny)
    description, model = model_of(CONFIG_MAPPING[fields["model_type"]].from_dict(fields))
    wait()
    cards = {s.uuid.removeprefix("GPU-"): s for s in open_gpus().sample()}
    card = None
    if device.type == "cuda":
        card = cards[str(torch.cuda.get_device_properties(device).uuid).removeprefix("GPU-")]
    capacity = probed(capacity_here((card,))) if card else Capacity("cpu", 1 << 50, 1 << 50, "host")
    (option,) = preview(
        description, capacity, bits=(bits,), gpu_counts=(1,), context=context, batch=batch
    ).options
    weights = fill(model, description, bits, device)
    decoder = assemble(model, model.dtype, device)
    if decoder is None:
        raise SystemExit(f"{name} has no forward of ours")
    weights += made_beside(decoder, model)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    with torch.inference_mode():
        cache = StaticCache(decoder, batch, context)
        steps = BatchSteps(decoder, cache)
        for _ in range(2):
            steps.prompts([[0] * (context - 1)] * batch, lambda: False)
            steps.step(torch.zeros(batch, dtype=torch.int64, device=device), [True] * batch)
    found = {"weights": (option.weights_bytes, weights), "kv": (option.kv_bytes, cache.bytes)}
    if device.type == "cuda":
        found |= on_the_card(option, device, weights + cache.bytes, card)
    return {"model": name, "bits": bits, "context": context, "batch": batch, "terms": found}


def on_the_card(option: Any, device: Any, held: int, before: Any) -> dict[str, tuple[int, int]]:
    """The terms that a GPU tells once the model, which holds `held` bytes, has worked; `before`: the card's
    reading before anything was there.
    """
    import torch

    from fqconsole.gpus import open_gpus

    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device)
    # Before a capture torch gives back what no tensor uses, so that the end is not the most.
    reserved = torch.cuda.max_memory_reserved(device)
    now = next(s for s in open_gpus().sample() if s.uuid == before.uuid)
    beside = now.memory_used - before.memory_used - torch.cuda.memory_reserved(device)
    return {
        "activations": (option.activation_bytes + option.graph_bytes, peak - held),
        "allocator": (option.allocator_bytes, reserved - peak),
        "runtime": (option.runtime_bytes, beside),
        "total": (option.total_bytes_per_gpu - option.loading_bytes, beside + reserved),
    }


def made_beside(decoder: Any, model: Any) -> int:
    """Bytes of the norms' weights that the decoder has in a form of its own (Gemma's, 1 + w in float32)."""
    held = {parameter.data_ptr() for parameter in model.parameters()}
    norms = [decoder.last_norm]
    for layer in decoder.layers:
        norms += [layer.before_attention, layer.after_attention, layer.before_feed, layer.after_feed]
        norms += [getattr(layer.attention, name, None) for name in ("q_norm", "k_norm")]
    weights = [norm.weight for norm in norms if norm is not None and norm.weight is not None]
    return sum(weight.nbytes for weight in weights if weight.data_ptr() not in held)


def row(result: dict[str, Any]) -> list[str]:
    cells = [result["model"], str(result["bits"]), f"{result['context']:,}", str(result["batch"])]
    for term in TERMS:
        pair = result["terms"].get(term)
        cells.append("" if pair is None else f"{pair[0] / 2**30:.2f} → {pair[1] / 2**30:.2f}")
    pair = result["terms"].get("total")
    return [*cells, "" if pair is None else f"{(pair[1] - pair[0]) / pair[0]:+.1%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=sorted({name for name, *_ in COMBINATIONS}))
    parser.add_argument("--bits", type=int)
    parser.add_argument("--context", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--here", action="store_true", help="in this process, one JSON line: used by itself")
    parser.add_argument("--out", type=Path, help="also write the results as JSON, after each")
    asked = parser.parse_args()
    wanted = [
        one
        for one in COMBINATIONS
        if all(value in (None, own) for value, own in zip((asked.only, asked.bits), one[:2], strict=True))
        and asked.context in (None, one[2])
        and asked.batch in (None, one[3])
    ]
    if asked.only and asked.bits and asked.context and asked.batch and not wanted:
        wanted = [(asked.only, asked.bits, asked.context, asked.batch)]
    if asked.here:
        print(json.dumps(measure(wanted[0], asked.device, tiny=asked.tiny, wait=sys.stdin.readline)))
        return
    run(wanted, asked)


def started(combination: Combination, asked: argparse.Namespace) -> "subprocess.Popen[str]":
    """A process that measures one combination when a line comes in."""
    name, *numbers = combination
    command = [sys.executable, "-m", "benchmarks.fit", "--here", "--only", name, "--device", asked.device]
    for option, number in zip(("--bits", "--context", "--batch"), numbers, strict=True):
        command += [option, str(number)]
    pipe = subprocess.PIPE
    tiny = ["--tiny"] if asked.tiny else []
    return subprocess.Popen([*command, *tiny], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def run(wanted: list[Combination], asked: argparse.Namespace) -> None:
    """Each combination in a process of its own, one after the other: nothing of one is left for the next."""
    from benchmarks._table import table

    results, problems = [], []
    following: deque[subprocess.Popen[str]] = deque()
    for number, (name, bits, _, _) in enumerate(wanted):
        following += [started(one, asked) for one in wanted[number + len(following) : number + READY]]
        out, err = following[0].communicate("\n")
        if following.popleft().returncode:
            problems.append(f"{name} {bits} bits: {err.strip().splitlines()[-1:]}")
            continue
        results.append(json.loads(out.splitlines()[-1]))
        print("  ".join(cell for cell in row(results[-1]) if cell), flush=True)
        if asked.out:
            asked.out.write_text(json.dumps(results, indent=1))
    head = ["model", "bits", "context", "batch", *(f"{term}, GiB" for term in TERMS), "error"]
    print("predicted → measured")
    print(table(head, [row(result) for result in results]))
    errors = [
        (pair[1] - pair[0]) / pair[0]
        for result in results
        if (pair := result["terms"].get("total")) is not None
    ]
    if errors:
        print(
            f"median {statistics.median(map(abs, errors)):.1%}, worst {max(map(abs, errors)):.1%}, "
            f"most under {max(errors):+.1%}"
        )
    for problem in problems:
        print(problem)


if __name__ == "__main__":
    main()
