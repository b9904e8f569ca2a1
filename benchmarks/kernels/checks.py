"""Right and the same each time: relative errors against float64, and bitwise repetition."""

import math
from collections.abc import Sequence

import torch

import kernels
from benchmarks.kernels.layers import Scheme
from benchmarks.kernels.peers import Peer, UnsupportedError
from benchmarks.kernels.points import OURS, Accuracy
from benchmarks.kernels.weights import random_rows, random_weights, relative_error
from benchmarks.kernels.work import DTYPE_NAMES, TOLERANCES, Work

SECONDS = 2.0
MOST_ROWS = 1024  # with more, nothing but the float64 product is new
RUNS = 20
DETERMINISM_ROWS = (1, 16, 256)
DETERMINISM_SHAPE = (4096, 4096)
RAGGED_ROWS = (3, 17, 100)
# A usual layer, and ones that no tile divides: (n, k in groups of the scheme, or in 64 for one scale a row).
USUAL_SHAPE = (4096, 4096)
RAGGED_SHAPES = ((1111, 17), (72, 3), (4100, 45))


def shapes_for(scheme: Scheme) -> tuple[tuple[int, int], ...]:
    """(n, k) to check: K is a multiple of the group, and for one scale a row of 8 at least."""
    group = scheme.group_size or 64
    odd = 8 if scheme.group_size is None else 0
    return (USUAL_SHAPE, *((n, groups * group + odd) for n, groups in RAGGED_SHAPES))


def measure_accuracy(work: Work, schemes: Sequence[Scheme], dtypes: Sequence[torch.dtype]) -> None:
    """Largest relative error over the shapes, at every number of rows, ragged ones among them."""
    for dtype in dtypes:
        for scheme in schemes:
            what = f"accuracy {scheme.label} {DTYPE_NAMES[dtype]}"
            if work.budget.allows(what, seconds=SECONDS):
                try:
                    _measure_accuracy_of(work, scheme, dtype, what)
                except Exception as problem:  # noqa: BLE001 — the other schemes are still worth it
                    work.failed(what, problem)


def _measure_accuracy_of(work: Work, scheme: Scheme, dtype: torch.dtype, what: str) -> None:
    rows = sorted({*(m for m in work.rows if m <= MOST_ROWS), *RAGGED_ROWS})
    worst = dict.fromkeys(rows, 0.0)
    shapes = shapes_for(scheme)
    for n, k in shapes:
        weights = random_weights(n, k, scheme, dtype, work.device, seed=n)
        matrix = kernels.prepare(weights.packed(), work.device, dtype)
        exact = weights.dequantize(torch.float64)
        for m in rows:
            x = random_rows(m, k, dtype, work.device, seed=m)
            error = relative_error(kernels.linear(x, matrix), x.double() @ exact.mT)
            worst[m] = max(worst[m], math.inf if math.isnan(error) else error)
    for m, error in worst.items():
        work.record.accuracy.append(Accuracy(scheme.label, DTYPE_NAMES[dtype], m, error, len(shapes)))
        if error > TOLERANCES[dtype]:
            work.note(f"{what} M={m} is WRONG: relative error {error:.1e}")


def measure_determinism(work: Work, scheme: Scheme, dtype: torch.dtype) -> None:
    """Whether so many runs of our product give the same bits, at each number of rows."""
    n, k = DETERMINISM_SHAPE
    matrix = kernels.prepare(random_weights(n, k, scheme, dtype, work.device).packed(), work.device, dtype)
    for m in DETERMINISM_ROWS:
        x = random_rows(m, k, dtype, work.device)
        first = kernels.linear(x, matrix)
        same = all(torch.equal(first, kernels.linear(x, matrix)) for _ in range(RUNS))
        work.record.determinism[f"{OURS} {scheme.label} {DTYPE_NAMES[dtype]} M={m}"] = same


def measure_peer_determinism(work: Work, peer: Peer, scheme: Scheme) -> None:
    """The same of a peer that is open."""
    n, k = DETERMINISM_SHAPE
    dtype = peer.dtypes[0]
    try:
        weights = random_weights(n, k, scheme, dtype, work.device)
        packed = peer.pack(weights)
        for m in DETERMINISM_ROWS:
            peer.check_rows(weights, m)
            x = random_rows(m, k, dtype, work.device)
            first = packed.multiply(x)
            same = all(torch.equal(first, packed.multiply(x)) for _ in range(RUNS))
            work.record.determinism[f"{peer.name} {scheme.label} {DTYPE_NAMES[dtype]} M={m}"] = same
    except UnsupportedError:
        return
    except Exception as problem:  # noqa: BLE001 — a peer's failure is its own
        work.failed(f"{peer.name} determinism", problem)
