"""One checkpoint on one GPU and on several.

    python -m benchmarks.several_gpus FOLDER --gpus 1 2
    python -m benchmarks.several_gpus FOLDER --gpus 1 2 --shape llama-3-70b   # random weights, made in FOLDER

Each is opened as any user's session would be; greedy, one prompt, medians. The speed-up is that of decoding
against the first line. On a CPU the GPUs are processes, which says nothing about speed.
"""

import argparse
from pathlib import Path
from statistics import median

from benchmarks._folder_argument import add_folder, make_folder
from benchmarks._table import hardware
from fqconsole.generation import open_session
from fqconsole.generation.options import Sampling
from fqconsole.generation.parallel.plan import SPLITS
from quantizer.device import resolve_device

RUNS = 5


def measure(folder: Path, asked: argparse.Namespace, gpus: int) -> tuple[float, float, float, float, int]:
    """Seconds to load, TTFT in ms, prefill and decode tokens a second, bytes of weights on the first GPU."""
    context = asked.prompt + asked.new + 1
    with open_session(folder, device=asked.device, context=context, gpus=gpus, split=asked.split) as session:
        session.end_tokens = frozenset()  # every run makes the same number of tokens
        sampling = Sampling(temperature=0, max_new_tokens=asked.new)
        ids = [(7 * i) % min(900, session.vocab_size - 3) + 3 for i in range(asked.prompt)]
        found = [session.generate(ids, sampling) for _ in range(RUNS)]
        return (
            session.load_seconds,
            median(answer.ttft_ms for answer in found),
            median(answer.prefill_tok_s for answer in found),
            median(answer.decode_tok_s or 0.0 for answer in found),
            session.weights_bytes,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_folder(parser)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--split", choices=SPLITS, default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=128)
    asked = parser.parse_args()
    make_folder(asked)
    print(f"{hardware(resolve_device(asked.device))}; {asked.folder.name}, split {asked.split}")
    print("gpus  weights each  load s  TTFT ms  prefill tok/s  decode tok/s  speed-up")
    first = 0.0
    for gpus in asked.gpus:
        load, ttft, prefill, decode, held = measure(asked.folder, asked, gpus)
        first = first or decode
        print(
            f"{gpus:4}  {held / 2**30:8.2f} GiB  {load:6.1f}  {ttft:7.1f}  {prefill:13.0f}  "
            f"{decode:12.1f}  {decode / first:7.2f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
