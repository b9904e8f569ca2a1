"""The roof, measured in the same run: reads of every size that occurs, and the best 16-bit matmul."""

from functools import partial

import torch

from benchmarks.kernels.points import Roof
from benchmarks.kernels.timing import calls_in_graph, copies_of, microseconds_of

# From the smallest packed layer to the largest 16-bit one that decoding reads.
SIZES = (1 << 20, 2 << 20, 4 << 20, 8 << 20, 13 << 20, 16 << 20, 26 << 20, 31 << 20, 40 << 20, 60 << 20,
         80 << 20, 108 << 20, 160 << 20, 240 << 20, 320 << 20, 512 << 20)  # fmt: skip
QUICK_SIZES = (1 << 20, 4 << 20, 8 << 20, 16 << 20, 31 << 20, 60 << 20, 108 << 20, 320 << 20)
WORD_BYTES = 4
# (words a program, warps): the fastest at each size counts.
READ_SHAPES = ((4096, 4), (8192, 8), (16384, 8))
MATMULS = ((4096, 14336, 4096), (8192, 8192, 8192))  # (rows, n, k)
DEPENDENT_CAPABILITY = (9, 0)  # programmatic dependent launch


def read_curve(sizes: tuple[int, ...], *, dependent: bool) -> tuple[tuple[int, float], ...]:
    """(bytes, microseconds) of reading one buffer of each size, with L2 cold."""
    return tuple((size, _read(size, dependent)) for size in sizes)


def _read(size: int, dependent: bool) -> float:
    from benchmarks.kernels.read_kernel import read_kernel

    copies = copies_of(size)
    words = size // WORD_BYTES
    buffers = [torch.randint(0, 9, (words,), dtype=torch.int32, device="cuda") for _ in range(copies)]
    best = float("inf")
    for block, warps in READ_SHAPES:
        programs = -(-words // block)
        sums = torch.empty(programs, dtype=torch.int32, device="cuda")
        options: dict[str, object] = {"BLOCK": block, "DEPENDENT": dependent, "num_warps": warps}
        if dependent:
            options["launch_pdl"] = True
        calls = [partial(read_kernel[(programs,)], buffer, sums, words, **options) for buffer in buffers]
        best = min(best, microseconds_of(calls * (calls_in_graph(copies, 1) // copies)))
    return best


def tensor_peak() -> float:
    """Operations a second of the fastest 16-bit cuBLAS product tried, on random data."""
    best = 0.0
    for dtype in (torch.bfloat16, torch.float16):
        for m, n, k in MATMULS:
            x = torch.randn(m, k, device="cuda").to(dtype)
            w = torch.randn(n, k, device="cuda").to(dtype)
            taken = microseconds_of([partial(torch.mm, x, w.mT)] * 4)
            best = max(best, 2 * m * n * k / taken * 1e6)
    return best


def measure_roof(*, quick: bool) -> Roof:
    """Both curves and the peak, in about ten seconds."""
    sizes = QUICK_SIZES if quick else SIZES
    dependent: tuple[tuple[int, float], ...] = ()
    if torch.cuda.get_device_capability() >= DEPENDENT_CAPABILITY:
        dependent = read_curve(sizes, dependent=True)
    return Roof(read_curve(sizes, dependent=False), dependent, tensor_peak())
