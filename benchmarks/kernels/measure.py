"""The linears, timed: 16-bit cuBLAS, ours, and every peer, each over copies of its weights with L2 cold."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

import kernels
from benchmarks.kernels.layers import Layer, Scheme
from benchmarks.kernels.peers import Packed, Peer, UnsupportedError
from benchmarks.kernels.points import CUBLAS, OURS, Point
from benchmarks.kernels.timing import calls_in_graph, copies_of
from benchmarks.kernels.weights import Weights, checked_error, random_rows, random_weights
from benchmarks.kernels.work import DTYPE_NAMES, TOLERANCES, Work

Multiply = Callable[[Tensor], Tensor]
LAYERS_IN_CHAIN = 8  # of some 100 MB each: more than any L2
SECONDS_OF_LAYER = 2.0  # what one layer takes at least: enough to stop in time


def time_rows(work: Work, copies: Sequence[Multiply], x: Tensor) -> float:
    """Microseconds of one product of x with one of `copies`, which take turns."""
    calls = [partial(multiply, x) for multiply in copies]
    return work.time(calls * (calls_in_graph(len(copies), x.shape[0]) // len(copies)))


def matmul_of(weight: Tensor) -> Multiply:
    """16-bit cuBLAS with `weight` [N, K]."""
    return lambda x: torch.mm(x, weight.mT)


def measure_cublas(work: Work, layers: Iterable[Layer], dtype: torch.dtype) -> None:
    """16-bit `x @ w.T`, the denominator of every ratio."""
    for layer in layers:
        what = f"{CUBLAS} {DTYPE_NAMES[dtype]} {layer.label}"
        if not work.budget.allows(what, seconds=SECONDS_OF_LAYER):
            continue
        first = (torch.randn(layer.n, layer.k, device=work.device) * 0.02).to(dtype)
        copies = [matmul_of(first), *(matmul_of(first.clone()) for _ in range(copies_of(first.nbytes) - 1))]
        for m in work.rows:
            taken = time_rows(work, copies, random_rows(m, layer.k, dtype, work.device))
            work.record.points.append(
                Point(CUBLAS, layer.label, "", DTYPE_NAMES[dtype], m, taken, first.nbytes)
            )


def measure_ours(work: Work, layers: Iterable[Layer], scheme: Scheme, dtype: torch.dtype) -> None:
    """`kernels.prepare(…).multiply`, checked before it is timed; a wrong product is noted and kept."""
    for layer in layers:
        what = f"{OURS} {scheme.label} {DTYPE_NAMES[dtype]} {layer.label}"
        if not work.budget.allows(what, seconds=SECONDS_OF_LAYER):
            continue
        weights = random_weights(layer.n, layer.k, scheme, dtype, work.device)
        matrices = prepared_copies(weights)
        copies = [multiply_of(matrix) for matrix in matrices]
        reference = weights.dequantize(torch.float32)
        for m in work.rows:
            x = random_rows(m, layer.k, dtype, work.device)
            try:
                error = checked_error(copies[0], x, reference)
                taken = time_rows(work, copies, x)
            except Exception as problem:  # noqa: BLE001 — one shape that fails must not hide the others
                work.failed(f"{what} M={m}", problem)
                continue
            if not error <= TOLERANCES[dtype]:
                work.note(f"{what} M={m} is WRONG: relative error {error:.1e}")
            held = matrices[0].bytes
            work.record.points.append(
                Point(OURS, layer.label, scheme.label, DTYPE_NAMES[dtype], m, taken, held, error)
            )


def clone_of(packed: kernels.PackedMatrix) -> kernels.PackedMatrix:
    """The same matrix in memory of its own."""
    codes, scales = packed.codes.clone(), packed.scales.clone()
    return kernels.PackedMatrix(codes, scales, packed.bits, packed.group_size, packed.k)


def prepared_copies(weights: Weights) -> list[kernels.PreparedMatrix]:
    """Enough prepared copies of one matrix that L2 holds none."""
    packed = weights.packed()
    return [
        kernels.prepare(clone_of(packed), weights.codes.device, weights.dtype)
        for _ in range(copies_of(packed.bytes))
    ]


def multiply_of(matrix: kernels.PreparedMatrix) -> Multiply:
    """A prepared matrix as a function of x."""
    return lambda x: matrix.multiply(x, None)


def measure_peer(work: Work, peer: Peer, layers: Iterable[Layer], scheme: Scheme) -> None:
    """One peer that is open; whatever it can't do or does wrong becomes a note."""
    for layer in layers:
        what = f"{peer.name} {scheme.label} {layer.label}"
        if not work.budget.allows(what, seconds=SECONDS_OF_LAYER):
            continue
        try:
            weights = random_weights(layer.n, layer.k, scheme, peer.dtypes[0], work.device)
            packed = peer.pack(weights)
        except UnsupportedError as reason:
            work.note(f"{peer.name} {scheme.label}: {reason}")
            return  # the scheme decides, not the shape
        except Exception as problem:  # noqa: BLE001 — a peer's failure is its own
            work.failed(what, problem)
            continue
        reference = weights.dequantize(torch.float32) if packed.reference is None else packed.reference
        copies = [packed, *(packed.copy() for _ in range(copies_of(packed.bytes) - 1))]
        for m in work.rows:
            if work.budget.allows(f"{what} M={m}"):
                try:
                    peer.check_rows(weights, m)
                    _measure_peer_rows(work, peer, layer, copies, weights, reference, m)
                except UnsupportedError as reason:
                    work.note(f"{what}: {reason}")
                except Exception as problem:  # noqa: BLE001
                    work.failed(f"{what} M={m}", problem)


def _measure_peer_rows(  # noqa: PLR0917 — one product of one peer
    work: Work,
    peer: Peer,
    layer: Layer,
    copies: Sequence[Packed],
    weights: Weights,
    reference: Tensor,
    rows: int,
) -> None:
    x = random_rows(rows, layer.k, weights.dtype, work.device)
    error = checked_error(copies[0].multiply, x, reference)
    label, dtype = weights.scheme.label, DTYPE_NAMES[weights.dtype]
    if not error <= peer.tolerance:
        work.note(f"{peer.name} {label} {layer.label} M={rows} is left out: relative error {error:.1e}")
        return
    taken = time_rows(work, [copy.multiply for copy in copies], x)
    work.record.points.append(
        Point(peer.name, layer.label, label, dtype, rows, taken, copies[0].bytes, error)
    )


def measure_chain(
    work: Work, layers: Sequence[Layer], rows: Iterable[int], scheme: Scheme, dtype: torch.dtype
) -> None:
    """One transformer layer's linears after each other, each fed by the one before, as in a model.

    Only the linears: each takes the first features of the last result.
    """
    sets = [prepared_copies(random_weights(layer.n, layer.k, scheme, dtype, work.device)) for layer in layers]
    for m in rows:
        x = random_rows(m, layers[0].k, dtype, work.device)

        def chain(index: int, x: Tensor = x) -> Tensor:
            for layer, copies in zip(layers, sets, strict=True):
                x = copies[index % len(copies)].multiply(x[:, : layer.k], None)
            return x

        taken = work.time([partial(chain, index) for index in range(LAYERS_IN_CHAIN)])
        work.record.figures[f"chain {scheme.label} {DTYPE_NAMES[dtype]} M={m}"] = taken
