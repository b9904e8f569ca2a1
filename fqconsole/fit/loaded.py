"""What weights leave free in torch's segments when they are loaded: the loader's order, followed in numbers.

Packed matrices come one after the other: codes and scales as they are stored, once more where several become
one, then words and scales as the kernels want them, and what was stored goes. What stays is cut from what was
free by then, and the pieces between are no segments that could be given back. First come the sets that become
one matrix, layer by layer, then the other matrices, the experts, and what is kept in 16 bits.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fqconsole.fit.alike import Alike
from fqconsole.fit.allocator import SMALL, SMALL_SEGMENT, Allocator, up
from fqconsole.fit.gpu_layout import stored_tensors
from fqconsole.fit.parts import RISING, ROUTED, Piece
from fqconsole.fit.place import Place

Sizes = tuple[int, ...]


class Step(NamedTuple):
    """Tensors that are there while something is loaded, those that stay, and in how many layers."""

    passing: Sizes
    staying: Sizes
    layers: int


def gaps_of(phases: Iterable[Sequence[Step]]) -> int:
    """Bytes of segments beside the tensors that stay, when nothing passing is left.

    Tensors of up to 1 MiB share segments of their own, which fill one after the other.
    """
    allocator = Allocator()
    take, give = allocator.take, allocator.give
    large = small = 0
    for phase in phases:
        steps = [(_large(step.passing), _large(step.staying), step.layers) for step in phase]
        for (_, staying, layers), step in zip(steps, phase, strict=True):
            large += layers * sum(staying)
            small += layers * (sum(step.staying) - sum(staying))
        steps = [one for one in steps if one[0] or one[1]]
        for layer in range(max((layers for _, _, layers in steps), default=0)):
            for passing, staying, layers in steps:
                if layer < layers:
                    blocks = [take(size) for size in passing]
                    for size in staying:
                        take(size)
                    for block in blocks:
                        give(block)
    allocator.release()
    return allocator.reserved - large + up(small, SMALL_SEGMENT) - small


def loading_phases(
    pieces: Sequence[Piece], sets: Sequence[Sequence[int]], alike: Alike, place: Place
) -> tuple[list[Step], ...]:
    """The pieces as the loader brings them to the device; `sets` are numbers of those that become one."""
    joined = [_together([pieces[number] for number in numbers], alike, place) for numbers in sets]
    alone, kept = [], []
    experts: dict[tuple[str, int], list[Piece]] = defaultdict(list)
    taken = {number for numbers in sets for number in numbers}
    for number, piece in enumerate(pieces):
        layers = max(1, len(alike.layers(piece.tensor)))
        routed = ROUTED.search(piece.name)
        if number in taken or (piece.reason == "lm_head" and alike.model.tied_embeddings):
            continue
        if piece.scheme is not None and routed is not None:
            experts[piece.name[: routed.end()], layers].append(piece)
        elif piece.scheme is not None:
            alone.append(_together([piece], alike, place))
        else:
            kept.append(Step((), (piece.stored,), layers))
    stacks = [_stacks(found, layers, place) for (_, layers), found in experts.items()]
    return joined, alone, stacks, kept


def _together(parts: Sequence[Piece], alike: Alike, place: Place) -> Step:
    """Matrices that become one, or a single one."""
    first = parts[0]
    layers = max(1, len(alike.layers(first.tensor)))
    if first.scheme is None:
        return Step((), (sum(part.stored for part in parts),), layers)
    whole = (sum(part.shape[0] for part in parts), *first.shape[1:]) if len(parts) > 1 else first.shape
    stored = sum((stored_tensors(part.shape, first.scheme) for part in parts), ())
    joined = stored_tensors(whole, first.scheme) if len(parts) > 1 else ()
    held = place.tensors(whole, first.scheme)
    if place.tensors is stored_tensors:  # nothing is prepared
        return Step(stored if joined else (), held, layers)
    return Step(stored + joined, held, layers)


def _stacks(parts: Sequence[Piece], layers: int, place: Place) -> Step:
    """The experts of a layer, stored as stacks or one by one: gate and up become one stack."""
    rising = [part for part in parts if part.name.rpartition(".")[2] in RISING]
    passing: Sizes = ()
    staying: Sizes = ()
    for stack in (rising, [part for part in parts if part not in rising]):
        stored = _sums(stored_tensors(part.shape, part.scheme) for part in stack if part.scheme is not None)
        if stack is rising:
            passing += tuple(size // 2 for size in stored) * 2
        passing += stored
        staying += _sums(place.tensors(part.shape, part.scheme) for part in stack if part.scheme is not None)
    return Step(passing, staying, layers)


def _sums(tensors: Iterable[Sizes]) -> Sizes:
    return tuple(map(sum, zip(*tensors, strict=True)))


def _large(sizes: Sizes) -> Sizes:
    return tuple(size for size in sizes if size > SMALL)
