"""Runs the text of `ring_kernel` in plain torch, as `tests.kernels.wide_emulator` does that of `wide_kernel`.

The parts of a program, the one that feeds and the teams that compute, run in threads of their own and wait
for each other at barriers. Where all wait, a program would never end on a GPU; that fails here, and so do a
copy into a place that not every team has read, and a barrier that counts what it should not.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from kernels import ring, ring_feed
from kernels.launch import Launch
from tests.kernels import wide_emulator
from tests.kernels.wide_emulator import EmulatedLaunch, Pointer, fake_language, pointer_to, value_of


class Turns:
    """What the threads of a program, one for each part, wait for."""

    def __init__(self, parts: int) -> None:
        self.changed = threading.Condition()
        self.waiting: list[Callable[[], bool]] = []
        self.parts = parts

    def wait_for(self, passes: Callable[[], bool]) -> None:
        """Return once `passes`; fails where nobody is left who could bring that about."""
        with self.changed:
            self.waiting.append(passes)
            while not passes():
                stuck = len(self.waiting) == self.parts and not any(other() for other in self.waiting)
                assert not stuck, "waits for ever"
                self.changed.wait(timeout=20)
            self.waiting.remove(passes)

    def end(self) -> None:
        """One of the threads is through."""
        with self.changed:
            self.parts -= 1
            self.changed.notify_all()


class Barrier:
    """A phase is over when `count` have arrived and all bytes that were announced."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.count = self.phases = self.arrived = 0
        self.announced = self.brought = 0

    def init(self, count: int) -> None:
        self.count = count

    def arrive(self, announced: int = 0) -> None:
        with self.turns.changed:
            self.arrived += 1
            self.announced += announced
            self.check()

    def bring(self, count: int) -> None:
        with self.turns.changed:
            self.brought += count
            assert self.brought <= self.announced, "more bytes than announced"
            self.check()

    def check(self) -> None:
        assert self.arrived <= self.count, "more arrive than there are"
        if self.arrived == self.count and self.brought == self.announced:
            self.phases += 1
            self.arrived = self.announced = self.brought = 0
            self.turns.changed.notify_all()

    def wait(self, phase: int) -> None:
        """Until a phase of this parity is over."""
        self.turns.wait_for(lambda: self.phases > 0 and self.phases % 2 != phase)


class Shared:
    """Shared memory of so many places: boxes, or barriers."""

    def __init__(self, shape: list[int], places: list[Any]) -> None:
        self.shape = shape
        self.places = places

    def index(self, number: Any) -> Any:
        return self.places[int(number)]


class Place:
    """A box of shared memory. Every team reads `parts` of it one after the other; then it is free."""

    def __init__(self, teams: int) -> None:
        self.teams = teams
        self.content: Tensor | None = None
        self.unread = 0
        self.lock = threading.Lock()

    def fill(self, content: Tensor, parts: int) -> None:
        assert self.unread == 0, "filled again before it was read"
        self.content, self.unread = content, parts * self.teams

    def reshape(self, shape: list[int]) -> "View":
        assert self.content is not None
        return View(self, self.content.reshape(shape))

    def read(self) -> Tensor:
        with self.lock:
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


def copy_box(descriptor: Any, start: list[Any], barrier: Barrier, place: Place, *, pred: Any = True) -> None:
    """Copy one box; what lies outside the tensor is zero."""
    if not bool(pred):
        return
    box = torch.zeros(descriptor.block_shape, dtype=descriptor.base.dtype)
    here = [slice(int(s), int(s) + size) for s, size in zip(start, box.shape, strict=True)]
    inside = descriptor.base[tuple(here)]
    box[tuple(slice(0, size) for size in inside.shape)] = inside
    # Boxes of words and of scales are read whole, those of x a block of 64 columns at a time.
    whole = box.dtype == torch.int32 or box.shape[1] == 1
    place.fill(box, 1 if whole else box.shape[0])
    barrier.bring(box.numel() * box.element_size())


def expect(barrier: Barrier, count: int, *, pred: Any = True) -> None:
    if bool(pred):
        barrier.arrive(count)


def arrive(barrier: Barrier, *, count: int, pred: Any = True) -> None:
    assert count == 1
    if bool(pred):
        barrier.arrive()


def team_of(boxes: Shared, number: Any, TEAM: int) -> Tensor:
    return boxes.index(number).read()[4 * TEAM : 4 * TEAM + 4]


def words_of_slot(words: Shared, slot: Any, TEAM: int, dot: Any) -> Tensor:
    if words.shape[2] == 1:
        return torch.cat([team_of(words, 3 * slot + i, TEAM).reshape(4, -1) for i in range(3)], -1)
    return team_of(words, slot, TEAM).reshape(4, -1)


def scales_of_slot(scales: Shared, slot: Any, TEAM: int, rows: Any) -> tuple[Tensor, ...]:
    """[64] of each group: a tile's are [8 rows g, groups, rows g and g + 8]."""
    groups = team_of(scales, slot, TEAM).reshape(4, 8, -1, 2).permute(2, 0, 3, 1).reshape(-1, 64)
    return tuple(value_of(group) for group in groups)


def block_operand(words: Tensor, first: Tensor, second: Tensor, *constants: Any) -> Tensor:
    """[64, 64]: the codes, times the scales of their half of the columns."""
    UNPACK, J, DTYPE, dot = constants
    plain = SimpleNamespace(grouped=False)
    codes = wide_emulator.left_operand(words, words, UNPACK, J, DTYPE, 4, plain)
    return torch.cat([codes[:, :32] * first, codes[:, 32:] * second], 1) if dot.grouped else codes


def load(pointer: Any, mask: Any = True, other: float = 0.0, **_: Any) -> Tensor:
    """What is not `mask`ed is not read."""
    at, inside = torch.broadcast_tensors(torch.as_tensor(pointer.at), torch.as_tensor(mask))
    found = torch.full(at.shape, other, dtype=pointer.memory.dtype)
    found[inside] = wide_emulator.load(Pointer(pointer.memory, at[inside]))
    return value_of(found)


def multiply(left: Tensor, right: Tensor, acc: Tensor, *, is_async: bool, use_acc: bool = True) -> Tensor:
    assert is_async
    product = left.float() @ right.float()
    return acc + product if use_acc else product


def play(kernel: Any, program: int, grid: int, constants: dict[str, Any], arguments: tuple[Any, ...]) -> None:
    """One program."""
    grouped = constants["GROUPS"] > 0 and not constants["SUMS"]
    turns = Turns(constants["TEAMS"] + 1)

    def allocate(dtype: Any, shape: list[int], layout: Any) -> Shared:
        barriers = dtype == torch.int64
        return Shared(
            shape, [Barrier(turns) if barriers else Place(constants["TEAMS"]) for _ in range(shape[0])]
        )

    def run_part(part: tuple[Callable[..., None], tuple[Any, ...]]) -> None:
        try:
            part[0](*part[1])
        finally:
            turns.end()

    def specialize(parts: list[Any], warps: list[int], registers: list[int]) -> None:
        with ThreadPoolExecutor(len(parts)) as pool:
            for done in [pool.submit(run_part, part) for part in parts]:
                done.result()

    gl = fake_language(program, grid, grouped)
    gl.allocate_shared_memory = allocate
    gl.load = load
    gl.warp_specialize = specialize
    names: dict[str, Any] = {
        **vars(ring_feed),
        **vars(ring),
        "gl": gl,
        "tma": SimpleNamespace(async_copy_global_to_shared=copy_box),
        "mbarrier": SimpleNamespace(
            init=lambda barrier, count: barrier.init(count),
            expect=expect,
            arrive=arrive,
            wait=lambda barrier, phase: barrier.wait(int(phase)),
            MBarrierLayout=lambda: None,
        ),
        "range": lambda *limits: map(value_of, range(*limits)),
        "barrier": lambda: None,
        "warpgroup_mma": multiply,
        "warpgroup_mma_init": lambda acc: acc,
        "warpgroup_mma_wait": lambda _, deps: deps[0] if len(deps) == 1 else deps,
        "words_of_slot": words_of_slot,
        "scales_of_slot": scales_of_slot,
        "block_operand": block_operand,
        "__builtins__": __builtins__,
    }
    for name in ("next_step", "fetch_weights", "feed"):
        names[name] = FunctionType(getattr(ring_feed, name).fn.__code__, names)
    for name in ("add_scaled", "compute"):
        names[name] = FunctionType(getattr(ring, name).fn.__code__, names)
    run = FunctionType(kernel.fn.__code__, names)
    run(*arguments, *(constants[name] for name in kernel.arg_names if name in constants))


class EmulatedRing(EmulatedLaunch):
    """Stands for a `Launch` of the ring kernel, which waits for no other."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.constants["DEPENDENT"] = False

    def __call__(self, grid: tuple[int, int, int], kind: Any, *arguments: Any) -> None:
        """All programs, the last first: who comes last adds up, whoever that is."""
        played = tuple(
            pointer_to(a) if isinstance(a, Tensor) else value_of(a) if isinstance(a, int) else a
            for a in arguments
        )
        for program in reversed(range(grid[0])):
            play(self.kernel, program, grid[0], self.constants, played)
