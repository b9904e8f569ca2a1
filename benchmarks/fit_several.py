"""The memory preview for several GPUs against what the fullest of them really gives.

    python -m benchmarks.fit_several --place /dev/shm --gpus 1 2
    python -m benchmarks.fit_several --place /tmp --only llama-3-8b --tiny --device cpu   # the same path

A checkpoint with random weights is made in a folder of PLACE and opened as any user's session would be, a
prompt that fills the context is answered, and the folder goes. Measured is what NVML shows on each card
beyond what was there before; the fullest counts. The GPUs must be quiet. One combination is one process. On
a CPU the first process's weights are shown, which lie there in another layout.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

Combination = tuple[str, int, int]  # model, bits, context
COMBINATIONS = (("llama-3-8b", 4, 8192), ("llama-3-8b", 8, 2048), ("qwen3-30b-a3b", 4, 2048))
NEW_TOKENS = 4


def measure(combination: Combination, place: Path, gpus: int, device: str, *, tiny: bool) -> dict[str, Any]:
    """Predicted and measured bytes of the fullest GPU, in this process; on a CPU its weights alone."""
    from fqconsole.fit import Capacity, preview
    from fqconsole.fit.capacity import capacity_here
    from fqconsole.fit.probe import probed
    from fqconsole.gpus import open_gpus

    cards = open_gpus().sample()
    from benchmarks.random_checkpoint import write_random_checkpoint
    from fqconsole.generation import open_session
    from fqconsole.generation.options import Sampling
    from fqconsole.models import describe, resolve_model

    name, bits, context = combination
    with tempfile.TemporaryDirectory(dir=place) as folder:
        model = Path(folder) / name
        write_random_checkpoint(name, model, bits=bits, tiny=tiny)
        capacity = capacity_here(cards) if device == "cuda" else Capacity("cpu", 1 << 50, 1 << 50, "gpu")
        (option,) = preview(
            describe(resolve_model(str(model))),
            probed(capacity),
            bits=(16,),  # as it is stored
            gpu_counts=(gpus,),
            context=context,
        ).options
        with open_session(model, device=device, context=context, gpus=gpus) as session:
            session.end_tokens = frozenset()
            prompt = [3 + i % (session.vocab_size - 3) for i in range(context - NEW_TOKENS - 1)]
            session.generate(prompt, Sampling(temperature=0, max_new_tokens=NEW_TOKENS))
            now = open_gpus().sample() if device == "cuda" else ()
            weights = session.weights_bytes
    before = {card.uuid: card.memory_used for card in cards}
    used = [card.memory_used - before[card.uuid] for card in now]
    found = (option.total_bytes_per_gpu, max(used)) if used else (option.weights_bytes, weights)
    return {
        "model": name,
        "bits": bits,
        "context": context,
        "gpus": gpus,
        "split": option.split,
        "bytes": found,
    }


def row(result: dict[str, Any]) -> list[str]:
    predicted, measured = result["bytes"]
    cells = [result["model"], str(result["bits"]), f"{result['context']:,}", str(result["gpus"])]
    return [
        *cells,
        result["split"],
        f"{predicted / 2**30:.2f} → {measured / 2**30:.2f}",
        f"{measured / predicted - 1:+.1%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--place", type=Path, required=True, help="an existing folder for the checkpoints")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", choices=sorted({name for name, *_ in COMBINATIONS}))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--here", type=int, help="in this process, one JSON line: used by itself")
    parser.add_argument("--out", type=Path, help="also write the results as JSON")
    asked = parser.parse_args()
    if asked.here is not None:
        combination = COMBINATIONS[asked.here]
        print(json.dumps(measure(combination, asked.place, asked.gpus[0], asked.device, tiny=asked.tiny)))
        return
    run(asked)


def run(asked: argparse.Namespace) -> None:
    """Each combination on each number of GPUs, in a process of its own."""
    from benchmarks._table import table

    results, problems = [], []
    for number, (name, bits, _) in enumerate(COMBINATIONS):
        for gpus in asked.gpus if asked.only in (None, name) else ():
            command = [sys.executable, "-m", "benchmarks.fit_several", "--place", str(asked.place)]
            command += ["--here", str(number), "--gpus", str(gpus), "--device", asked.device]
            command += ["--tiny"] if asked.tiny else []
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                problems.append(f"{name} {bits} bits, {gpus} GPUs: {done.stderr.strip().splitlines()[-1:]}")
                continue
            results.append(json.loads(done.stdout.splitlines()[-1]))
    print("the fullest GPU: predicted → measured")
    head = ["model", "bits", "context", "GPUs", "split", "GiB", "error"]
    print(table(head, [row(result) for result in results]))
    errors = [result["bytes"][1] / result["bytes"][0] - 1 for result in results]
    if errors:
        print(f"median {statistics.median(map(abs, errors)):.1%}, worst {max(map(abs, errors)):.1%}")
    print(*problems, sep="\n")
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
