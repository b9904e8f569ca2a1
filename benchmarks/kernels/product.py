"""One product, three times for each of its copies: what a profiler looks at.

    ncu --clock-control none -k regex:ring_kernel -s 2 -c 1 \\
        python -m benchmarks.kernels.product --scheme int4-128 --rows 64 --outputs 36864 --inputs 12288
"""

import argparse

import torch

from benchmarks.kernels.layers import SCHEMES
from benchmarks.kernels.measure import prepared_copies
from benchmarks.kernels.weights import random_rows, random_weights

TURNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scheme", choices=list(SCHEMES), default="int4-128")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--outputs", type=int, default=36864)
    parser.add_argument("--inputs", type=int, default=12288)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("A profiler needs a GPU to look at, and there is none here.")
    weights = random_weights(asked.outputs, asked.inputs, SCHEMES[asked.scheme], torch.float16, "cuda")
    x = random_rows(asked.rows, asked.inputs, torch.float16, "cuda")
    for matrix in prepared_copies(weights) * TURNS:
        matrix.multiply(x, None)
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
