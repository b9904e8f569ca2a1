"""The kernels, measured: against 16-bit cuBLAS, other libraries, and what the GPU can do at all.

    python -m benchmarks.kernels [--json FILE] [--markdown FILE] [--svg FILE]     eight minutes on an H200
    python -m benchmarks.kernels --quick                                          a minute and a half
    python -m benchmarks.kernels --load FILE                                      the report of an earlier run

Several processes first compile what will be timed. Every product runs in CUDA graphs over enough copies of
its weights (208 MB and more) that none is in L2; the middle of several replays counts. Each is checked before
it is timed. The limit is the larger of two times, measured in the same run: reading the packed bytes, and
doing the operations at the speed of the best 16-bit matmul. Libraries that are not installed are left out
with a sentence; one that fails ends nothing.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from benchmarks.kernels.layers import CLASSES, MAIN, QUICK_ROWS, ROWS, SCHEMES
from benchmarks.kernels.overheads import first_call
from benchmarks.kernels.peers import PEERS
from benchmarks.kernels.plot import roofline_svg
from benchmarks.kernels.points import OURS, Record
from benchmarks.kernels.report import markdown
from benchmarks.kernels.run import PARTS, QUICK_PARTS, Choice, run
from benchmarks.kernels.timing import Budget
from benchmarks.kernels.warm import compile_ahead, compile_share, usual_workers

SECONDS, QUICK_SECONDS = 460.0, 80.0
QUICK_CLASSES = ("llama-attention", "llama-mlp")
QUICK_SCHEMES = (MAIN.label, "int4-64", "int8-channel", "int3-128")
PEER_SCHEMES = (MAIN.label, "int8-channel", "int3-128")
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
WRONG = "WRONG"  # in a note about our own kernels


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__.splitlines()[0])
    made.add_argument("--quick", action="store_true", help="Llama-8B, five numbers of rows, fewer parts")
    made.add_argument("--seconds", type=float, help="leave out what would begin later than this")
    made.add_argument("--rows", type=int, nargs="+")
    made.add_argument("--classes", nargs="+", choices=CLASSES)
    made.add_argument("--schemes", nargs="+", choices=SCHEMES)
    made.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="the first leads")
    made.add_argument("--peers", nargs="*", choices=PEERS, help="none: --peers without a name")
    made.add_argument("--parts", nargs="+", choices=PARTS)
    made.add_argument("--tune-peers", action="store_true", help="let peers tune themselves, for minutes")
    made.add_argument("--json", type=Path, help="write what was measured")
    made.add_argument("--markdown", type=Path, help="write the report")
    made.add_argument("--svg", type=Path, help="draw time against bytes")
    made.add_argument("--svg-rows", type=int, default=1)
    made.add_argument("--load", type=Path, help="no measuring: the report of this JSON file")
    made.add_argument("--workers", type=int, default=usual_workers(), help="processes that compile ahead")
    made.add_argument("--warm", type=int, nargs=2, help=argparse.SUPPRESS)
    made.add_argument("--first-call", type=int, help=argparse.SUPPRESS)
    return made


def choice_of(options: argparse.Namespace) -> Choice:
    """The options with the defaults of a whole or a quick run."""
    quick = options.quick
    schemes = options.schemes or (QUICK_SCHEMES if quick else tuple(SCHEMES))
    return Choice(
        rows=tuple(sorted(set(options.rows or (QUICK_ROWS if quick else ROWS)))),
        classes=tuple(options.classes or (QUICK_CLASSES if quick else CLASSES)),
        schemes=tuple(SCHEMES[name] for name in schemes),
        dtypes=tuple(DTYPES[name] for name in options.dtypes),
        peers=tuple(PEERS if options.peers is None else options.peers),
        peer_schemes=tuple(SCHEMES[name] for name in options.schemes or PEER_SCHEMES),
        parts=tuple(options.parts or (QUICK_PARTS if quick else PARTS)),
        seconds=options.seconds or (QUICK_SECONDS if quick else SECONDS),
        quick=quick,
        tune_peers=options.tune_peers,
    )


def write(record: Record, options: argparse.Namespace) -> None:
    """The report to the screen, and to the files asked for."""
    if options.json:
        record.save(options.json)
    report = markdown(record)
    print(report)
    if options.markdown:
        options.markdown.write_text(report)
    if options.svg:
        options.svg.write_text(roofline_svg(record, options.svg_rows))


def main() -> int:
    """0; 1 where one of our products was wrong."""
    options = parser().parse_args()
    if options.load:
        record = Record.load(options.load)
    elif not torch.cuda.is_available():
        print("No CUDA GPU here, so the kernels can't be timed. For the CPU: python -m benchmarks.cpu_matmul")
        return 0
    elif options.first_call:
        print(json.dumps(first_call(options.first_call)))
        return 0
    elif options.warm:
        compile_share(choice_of(options), *options.warm)
        return 0
    else:
        choice = choice_of(options)
        budget = Budget(choice.seconds)
        if options.workers > 0:
            compile_ahead(budget, options.workers, sys.argv[1:])
        record = run(choice, budget, lambda record: options.json and record.save(options.json))
    write(record, options)
    return int(any(WRONG in note and note.startswith((OURS, "accuracy")) for note in record.notes))


if __name__ == "__main__":
    raise SystemExit(main())
