# ruff: noqa: PLR0917 — the arguments of the kernel's functions
"""Runs the text of the wide kernel in plain torch, program by program: Triton's interpreter knows no Gluon.

What the kernel says runs as it stands: which blocks and steps a program takes, what is copied ahead from
where to which place of a ring, what is read from it, what is stored. Played are what it calls: a copy is done
at once, a pointer is a tensor and a place in it, the left operand is decoded as `kernels.lane_layout` says
and the matrix unit is a matmul. So an offset that is wrong anywhere gives a wrong product; only the waiting
for copies and the registers are left to a GPU and to the compile tests.
"""

from dataclasses import dataclass
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from kernels import wide, wide_operands
from kernels.lane_layout import WORDS, _codes_of, step_of
from kernels.launch import Launch


class Value(Tensor):
    """A tensor of the kernel: `+=` makes a new one, as in Triton."""

    def __iadd__(self, other: Any) -> Tensor:
        return self + other

    def __imul__(self, other: Any) -> Tensor:
        return self * other


def value_of(number: Any) -> Tensor:
    return torch.as_tensor(number).as_subclass(Value)


@dataclass(frozen=True)
class Pointer:
    """Places in the memory of a tensor; `at` counts bytes, or elements without `in_bytes`."""

    memory: Tensor
    at: Any = 0
    in_bytes: bool = False

    def __add__(self, other: Any) -> "Pointer":
        return Pointer(self.memory, self.at + other, self.in_bytes)

    def __radd__(self, other: Any) -> "Pointer":
        return self + other

    @property
    def dtype(self) -> Any:
        return SimpleNamespace(element_ty=self.memory.dtype)

    def to(self, _: Any) -> "Pointer":
        """As an integer: an address in bytes."""
        return Pointer(self.memory, self.at * self.memory.itemsize, in_bytes=True)

    def __getitem__(self, index: Any) -> "Pointer":
        return Pointer(self.memory, self.at[index], self.in_bytes)


class Ring:
    """Stages of shared memory, each whatever was copied there last."""

    def __init__(self, stages: int) -> None:
        self.stages: list[Any] = [None] * stages

    def index(self, stage: Any) -> "Stage":
        return Stage(self, int(stage))


@dataclass(frozen=True)
class Stage:
    ring: Ring
    number: int

    @property
    def content(self) -> Any:
        return self.ring.stages[self.number]

    def permute(self, _: Any) -> Tensor:
        return self.content.mT


def load(pointer: Pointer, **_: Any) -> Tensor:
    assert not pointer.in_bytes
    at = torch.as_tensor(pointer.at)
    assert bool((at >= 0).all()) and bool((at < pointer.memory.numel()).all()), "read outside"
    return value_of(pointer.memory.view(-1)[at])


def store(pointer: Pointer, value: Tensor, mask: Tensor | None = None) -> None:
    at, value = torch.broadcast_tensors(torch.as_tensor(pointer.at), torch.as_tensor(value))
    inside = torch.ones_like(at, dtype=torch.bool) if mask is None else mask.expand(at.shape)
    pointer.memory.view(-1)[at[inside]] = value[inside].to(pointer.memory.dtype)


def atomic_add(pointer: Pointer, value: int, **_: Any) -> Tensor:
    before = load(pointer).clone()
    store(pointer, before + value)
    return before


def copy_to_shared(stage: Stage, pointer: Pointer) -> None:
    stage.ring.stages[stage.number] = load(pointer).clone()


def words_of_tiles(
    words_ptr: Pointer, steps: Tensor, STEP_WORDS: int, FIRST: int, COUNT: int, TILES: int, W: int
):
    """Places of COUNT words of step 0 of each tile."""
    tile = torch.arange(TILES)[:, None]
    return words_ptr + (tile * (steps * STEP_WORDS) + FIRST + torch.arange(COUNT)[None, :])


def words_in_registers(
    rings: tuple[Ring, ...], slot: Any, r: int, R: int, BITS: int, W: int, dot: Any
) -> Tensor:
    """The words of one step of W tiles, [W, WORDS]."""
    return torch.cat([ring.index(slot).content for ring in rings], -1)[r * W : (r + 1) * W]


def load_scales(scales: Pointer, off: Any, LOAD: str, R: int, tile_bytes: Any) -> tuple[Tensor, ...]:
    """The scales of one step, R tensors [16 W, GROUPS]: as many words a row as the text loads."""
    groups = LOAD.count("[a+") * max(1, 4 * (".v4" in LOAD) + 2 * (".v2" in LOAD))
    found = []
    for r in range(R):
        at = (scales.at + off + r * tile_bytes)[:, 0]
        halves = at[:, None] // 2 + 2 * torch.arange(groups)[None, :]
        upper = (torch.arange(len(at)) % 16 // 8)[:, None]  # rows g and 8 + g share a word
        found.append(load(Pointer(scales.memory, halves + upper)))
    return tuple(found)


def left_operand(
    words: Tensor, scales: Tensor, UNPACK: Any, J: int, DTYPE: torch.dtype, W: int, dot: Any
) -> Tensor:
    """[16 W, 64]: planes 4 J … 4 J + 3 of the step, columns in the fragments' order (h, t, e)."""
    bits = {128: 8, 256: 4}[16 * 4 * len(UNPACK)] if words.shape[-1] == WORDS[4] else 3
    stored = _codes_of(words[:, None].to(torch.int32), bits)[:, 0]  # [W, slot, lane, plane, e]
    codes = stored.unflatten(2, (8, 4)).unflatten(1, (2, 2)) - (1 << (bits - 1))  # [W, r8, h, g, t, plane, e]
    whole = codes.permute(0, 1, 3, 5, 2, 4, 6).reshape(16 * W, -1).to(DTYPE)  # rows (w, r8, g)
    if dot.grouped:
        whole = whole * scales.repeat_interleave(step_of(bits) // scales.shape[1], 1).to(DTYPE)
    return whole[:, 64 * J : 64 * J + 64]


def fake_language(program: int, programs: int, grouped: bool) -> SimpleNamespace:
    """What stands for `gl` in one program, of the wide kernel or the ring kernel."""

    def arange(first: int, last: int, *_: Any) -> Tensor:
        return value_of(torch.arange(first, last))

    return SimpleNamespace(
        program_id=lambda _: value_of(program),
        num_programs=lambda _: value_of(programs),
        static_range=range,
        arange=arange,
        zeros=lambda shape, dtype, *_: value_of(torch.zeros(shape, dtype=dtype)),
        minimum=lambda a, b: torch.minimum(torch.as_tensor(a), torch.as_tensor(b)),
        where=lambda c, a, b: torch.where(c, torch.as_tensor(a), torch.as_tensor(b)),
        load=load,
        store=store,
        atomic_add=atomic_add,
        convert_layout=lambda value, *_: value,
        allocate_shared_memory=lambda dtype, shape, layout: Ring(shape[0]),
        SliceLayout=lambda *_: None,
        BlockedLayout=lambda *_: None,
        NVMMADistributedLayout=lambda **_: None,
        NVMMASharedLayout=lambda *_: None,
        SwizzledSharedLayout=lambda *_: None,
        DotOperandLayout=lambda *_: SimpleNamespace(grouped=grouped),
        int32=torch.int32,
        int64=torch.int64,
        float32=torch.float32,
        constexpr=None,
    )


def emulate(kernel: Any, grid: int, constants: dict[str, Any], arguments: tuple[Any, ...]) -> None:
    """All programs of one launch, one after the other."""
    for program in range(grid):
        names: dict[str, Any] = {
            "gl": fake_language(program, grid, constants["GROUPS"] > 0),
            "async_copy": SimpleNamespace(
                async_copy_global_to_shared=copy_to_shared,
                commit_group=lambda: None,
                wait_group=lambda _: None,
            ),
            "range": lambda *limits: map(value_of, range(*limits)),
            "barrier": lambda: None,
            "fence_async_shared": lambda: None,
            "warpgroup_mma": lambda left, right, acc, is_async: acc + left.float() @ right.float(),
            "warpgroup_mma_init": lambda acc: acc,
            "warpgroup_mma_wait": lambda _, deps: deps[0] if len(deps) == 1 else deps,
            "words_of_tiles": words_of_tiles,
            "words_in_registers": words_in_registers,
            "load_scales": load_scales,
            "left_operand": left_operand,
        }
        for name in ("copy_x", "copy_words", "step_of_stack", "routed_place"):
            names[name] = FunctionType(getattr(wide_operands, name).fn.__code__, names)
        run = FunctionType(kernel.fn.__code__, {**vars(wide), **names, "__builtins__": __builtins__})
        run(*arguments, *(constants[name] for name in kernel.arg_names if name in constants))


def pointer_to(tensor: Tensor) -> Pointer:
    """To its first element; what lies behind a part of a tensor can be reached too."""
    if tensor.is_contiguous():
        return Pointer(tensor)
    first = tensor.storage_offset()
    behind = tensor.untyped_storage().nbytes() // tensor.itemsize - first
    return Pointer(tensor.as_strided((behind,), (1,), first))


class EmulatedLaunch:
    """Stands for a `Launch` of the wide kernel."""

    def __init__(self, launch: Launch) -> None:
        self.kernel = launch.kernel
        self.constants = dict(zip(launch.names, launch.constants, strict=True))

    def __call__(self, grid: tuple[int, int, int], kind: Any, *arguments: Any) -> None:
        """Tensors become pointers, numbers tensors that know `to`."""
        played = tuple(
            pointer_to(a) if isinstance(a, Tensor) else value_of(a) if isinstance(a, int) else a
            for a in arguments
        )
        emulate(self.kernel, grid[0], self.constants, played)
