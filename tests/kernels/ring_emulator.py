"""Runs the text of `ring_kernel` in plain torch, as `tests.kernels.wide_emulator` does that of `wide_kernel`.

The copy engine copies at once and counts its bytes at a barrier. A wait fails where the bytes of that phase
are not complete, which would be a program that never ends on a GPU, and so does a copy into a place that was
filled but not read.
"""

from dataclasses import dataclass
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from kernels import ring as ring_kernel
from tests.kernels import wide_emulator
from tests.kernels.wide_emulator import EmulatedLaunch, fake_language, pointer_to, value_of


class Barrier:
    """Counts bytes: a phase is over when as many arrived as were announced."""

    def __init__(self) -> None:
        self.phases = 0
        self.announced = self.arrived = 0

    def arrive(self, count: int) -> None:
        self.arrived += count
        assert self.arrived <= self.announced, "more bytes than announced"
        if self.arrived == self.announced:
            self.phases += 1
            self.announced = self.arrived = 0

    def check(self, phase: int) -> None:
        """A wait for the end of a phase of this parity passes."""
        assert self.phases > 0 and self.phases % 2 != phase, "waits for ever"


class Shared:
    """Shared memory of so many places: boxes, or barriers."""

    def __init__(self, places: int) -> None:
        self.places = [Place() for _ in range(places)]
        self.barriers = [Barrier() for _ in range(places)]

    def index(self, number: Any) -> Any:
        return self.places[int(number)]


class Barriers(Shared):
    def index(self, number: Any) -> Any:
        return self.barriers[int(number)]


class Place:
    """A box of shared memory. `parts` of it are read one after the other; then it is free."""

    def __init__(self) -> None:
        self.content: Tensor | None = None
        self.unread = 0

    def fill(self, content: Tensor, parts: int) -> None:
        assert self.unread == 0, "filled again before it was read"
        self.content, self.unread = content, parts

    def reshape(self, shape: list[int]) -> "View":
        assert self.content is not None
        return View(self, self.content.reshape(shape))

    def read(self) -> Tensor:
        assert self.content is not None and self.unread > 0, "read before it was filled"
        self.unread -= 1
        return self.content


@dataclass(frozen=True)
class View:
    place: Place
    content: Tensor

    def slice(self, first: int, count: int) -> "View":
        self.place.read()
        return View(self.place, self.content[first : first + count])

    def permute(self, _: Any) -> Tensor:
        return self.content.mT


def copy_box(descriptor: Any, start: list[Any], barrier: Barrier, place: Place, pred: Any) -> None:
    """Copy one box; what lies outside the tensor is zero."""
    if not bool(pred):
        return
    box = torch.zeros(descriptor.block_shape, dtype=descriptor.base.dtype)
    here = [slice(int(s), int(s) + size) for s, size in zip(start, box.shape, strict=True)]
    inside = descriptor.base[tuple(here)]
    box[tuple(slice(0, size) for size in inside.shape)] = inside
    # Boxes of words are read whole, those of x a block of 64 columns at a time.
    place.fill(box, 1 if box.dtype == torch.int32 else box.shape[0])
    barrier.arrive(box.numel() * box.element_size())


def expect(barrier: Barrier, count: int, pred: Any) -> None:
    if bool(pred):
        barrier.announced += count


def words_of_stage(ring: Shared, slot: Any, W: int, dot: Any) -> Tensor:
    return ring.index(slot).read().reshape(W, 512)


def multiply(left: Tensor, right: Tensor, acc: Tensor, *, is_async: bool, use_acc: bool = True) -> Tensor:
    assert is_async
    product = left.float() @ right.float()
    return acc + product if use_acc else product


def allocate(dtype: Any, shape: list[int], layout: Any) -> Shared:
    return Barriers(shape[0]) if dtype == torch.int64 else Shared(shape[0])


def play(kernel: Any, program: int, grid: int, constants: dict[str, Any], arguments: tuple[Any, ...]) -> None:
    """One program."""
    grouped = constants["GROUPS"] > 0 and not constants["SUMS"]
    gl = fake_language(program, grid, grouped)
    gl.allocate_shared_memory = allocate
    names: dict[str, Any] = {
        **vars(ring_kernel),
        "gl": gl,
        "tma": SimpleNamespace(async_copy_global_to_shared=copy_box),
        "mbarrier": SimpleNamespace(
            init=lambda *_, **__: None,
            invalidate=lambda _: None,
            expect=expect,
            wait=lambda barrier, phase: barrier.check(int(phase)),
            MBarrierLayout=lambda: None,
        ),
        "range": lambda *limits: map(value_of, range(*limits)),
        "barrier": lambda: None,
        "warpgroup_mma": multiply,
        "warpgroup_mma_init": lambda acc: acc,
        "warpgroup_mma_wait": lambda _, deps: deps[0] if len(deps) == 1 else deps,
        "words_of_stage": words_of_stage,
        "load_scales": wide_emulator.load_scales,
        "left_operand": wide_emulator.left_operand,
        "__builtins__": __builtins__,
    }
    for name in ("fetch_words", "fetch_x", "load_group_scales", "add_scaled"):
        names[name] = FunctionType(getattr(ring_kernel, name).fn.__code__, names)
    run = FunctionType(kernel.fn.__code__, names)
    run(*arguments, *(constants[name] for name in kernel.arg_names if name in constants))


class EmulatedRing(EmulatedLaunch):
    """Stands for a `Launch` of the ring kernel."""

    def __call__(self, grid: tuple[int, int, int], kind: Any, *arguments: Any) -> None:
        """All programs, the last first: who comes last adds up, whoever that is."""
        played = tuple(
            pointer_to(a) if isinstance(a, Tensor) else value_of(a) if isinstance(a, int) else a
            for a in arguments
        )
        for program in reversed(range(grid[0])):
            play(self.kernel, program, grid[0], self.constants, played)
