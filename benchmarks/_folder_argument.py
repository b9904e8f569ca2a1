"""The model that a benchmark opens: a folder, made with random weights first where that is asked for."""

import argparse
from pathlib import Path

from benchmarks._shapes import SHAPES
from quantizer.scheme import BITS


def add_folder(parser: argparse.ArgumentParser) -> None:
    """FOLDER, and of what shape to make it."""
    parser.add_argument("folder", type=Path, help="a quantized or a 16-bit model")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="make FOLDER first where it is not there")
    parser.add_argument("--bits", type=int, choices=BITS, default=4, help="of --shape")
    parser.add_argument("--tiny", action="store_true", help="keep the kind of --shape, not its size")


def make_folder(asked: argparse.Namespace) -> None:
    """Write the checkpoint that `add_folder`'s arguments ask for, unless it is there."""
    if asked.shape and not asked.folder.exists():
        from benchmarks.random_checkpoint import write_random_checkpoint  # loads torch

        write_random_checkpoint(asked.shape, asked.folder, bits=asked.bits, tiny=asked.tiny)
