"""What quantization costs: perplexity, KL divergence and top-1 agreement against real bits per weight.

    python -m benchmarks.quality [--model demo demo-moe ./folder] [--tokens 8192] [--peers hqq ...]
                                 [--text FILE] [--device auto] [--json]   ours and others, in float32
    python -m benchmarks.quality --checkpoints [--tokens 32768]   ours alone, as a user's checkpoint computes
    python -m benchmarks.quality --methods [--tokens 8192]        our methods on and off, at equal bits
    python -m benchmarks.quality --planner [--tokens 8192]        the planner and the rules, at equal bits
    python -m benchmarks.quality --sensitivity [--tokens 8192]    each matrix rounded alone, and its forecast

Text: the built-in held-out stories, or FILE. Peers are used where they are installed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks._table import hardware
from benchmarks.quality import checkpoints, planner
from benchmarks.quality.comparison import ABLATION, ABLATION_MODELS, CASES, SIZES, Ours, Row, compare
from benchmarks.quality.peers import PEERS, find_settings
from benchmarks.quality.report import show, verdicts
from fqconsole.demo import builtin_models, heldout_text
from fqconsole.evaluation import read_text
from fqconsole.models import describe, resolve_model
from quantizer.device import resolve_device


def run_comparison(
    models: Sequence[str],
    offered: Sequence[Ours],
    peers: Sequence[str],
    options: argparse.Namespace,
    text: str,
) -> None:
    """Print the table and the verdicts of each model, or one JSON object."""
    found, missing = find_settings(list(peers))
    cases = [case for case in offered if case.bits in options.bits]
    settings = [setting for setting in found if setting.bits in options.bits]
    place = hardware(resolve_device(options.device))
    if not options.json:
        print(f"{place}\nat most {options.tokens} tokens in windows of 512, everything in float32")
    lines: list[dict[str, object]] = []
    for model in models:
        rows: list[Row] = []
        description = describe(resolve_model(model))
        for row in compare(
            description, cases, settings, text=text, tokens=options.tokens, device=options.device
        ):
            if isinstance(row, str):
                missing.append(row)
                continue
            print(f"{row.model}  {row.who}  {row.detail}  {row.bits:.3f}  {row.score}", file=sys.stderr)
            rows.append(row)
        lines += [asdict(row) for row in rows]
        if not options.json:
            print(f"\n{model}\n{show(rows)}\n{verdicts(rows)}", flush=True)
    if options.json:
        print(json.dumps({"hardware": place, "tokens": options.tokens, "rows": lines, "missing": missing}))
    else:
        print("\n".join(["", *missing]))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description="What quantization costs, ours and that of others."
    )
    parser.add_argument("--models", "--model", nargs="+", help="built-in ids or folders; the built-in ones")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--checkpoints", action="store_true", help="ours alone, as users' checkpoints compute")
    kind.add_argument("--methods", action="store_true", help="each method on and off, at the same bits")
    kind.add_argument("--planner", action="store_true", help="the planner and the rules, at the same bits")
    kind.add_argument("--sensitivity", action="store_true", help="each matrix rounded alone")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--bits", nargs="+", type=int, choices=SIZES, default=list(SIZES))
    parser.add_argument("--text", type=Path, help="score this text; the built-in held-out stories by default")
    parser.add_argument("--tokens", type=int, help="tokens to score at most; 8192, for --checkpoints 32768")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args()
    options.tokens = options.tokens or (32768 if options.checkpoints else 8192)
    text = heldout_text(1000) if options.text is None else read_text(options.text)
    usual = [model.id for model in builtin_models()]
    if options.checkpoints:
        checkpoints.run(options.models or usual, options, text)
    elif options.planner or options.sensitivity:
        planner.run(options.models or usual, options, text)
    elif options.methods:
        run_comparison(options.models or ABLATION_MODELS, ABLATION, (), options, text)
    else:
        run_comparison(options.models or usual, CASES, options.peers, options, text)


if __name__ == "__main__":
    main()
