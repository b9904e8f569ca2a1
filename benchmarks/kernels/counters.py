"""Products once each, to be looked at with NVIDIA's Nsight Compute: what a kernel waits for.

    ncu --clock-control none -k "regex:decode_kernel|ring_kernel" --set full -o counters \\
        python -m benchmarks.kernels.counters [--rows 1 16] [--scheme int4-64] [--dtype bf16]
    ncu -i counters.ncu-rep --page details

ncu runs each kernel some forty times over, with cold caches, one after the other: times are longer than in
the other benchmarks.
"""

import argparse

import torch

import kernels
from benchmarks.kernels.layers import SCHEMES
from benchmarks.kernels.weights import random_rows, random_weights

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRODUCTS = {
    "Llama-8B gate_up": (28672, 4096),
    "OPT-30B fc1": (28672, 7168),
    "OPT-30B o": (7168, 7168),
    "Llama-8B qkv": (6144, 4096),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--scheme", choices=list(SCHEMES), default="int4-64")
    parser.add_argument("--dtype", choices=list(DTYPES), default="bf16")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("Counters are those of a GPU, and there is none here.")
    dtype = DTYPES[given.dtype]
    for rows in given.rows:
        for name, (n, k) in PRODUCTS.items():
            weights = random_weights(n, k, SCHEMES[given.scheme], dtype, "cuda")
            matrix = kernels.prepare(weights.packed(), "cuda", dtype)
            x = random_rows(rows, k, dtype, "cuda")
            print(f"{name}, M={rows}", flush=True)
            kernels.linear(x, matrix)
            torch.cuda.synchronize()


if __name__ == "__main__":
    main()
