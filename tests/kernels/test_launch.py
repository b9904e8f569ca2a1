"""A kernel is looked up once a kind of call, and afterwards launched as it was compiled."""

import pytest
import torch

from kernels.launch import Launch, kind_of


class FakeKernel:
    """Stands for Triton: a compilation is a list of the launches that went straight to it."""

    arg_names = ("x", "size", "BLOCK", "INTERPRET")

    def __init__(self, *, compiles: bool = True) -> None:
        self.compiles = compiles
        self.searches: list[tuple] = []
        self.straight: list[tuple] = []

    def __getitem__(self, grid):
        def search(*arguments, **options):
            self.searches.append((grid, arguments, options))
            return FakeCompilation(self.straight) if self.compiles else None

        return search


class FakeCompilation:
    def __init__(self, launches: list[tuple]) -> None:
        self.launches = launches

    def __getitem__(self, grid):
        return lambda *arguments: self.launches.append((grid, arguments))


class AskedKernel(FakeKernel):
    """One that another thread asked for: Triton returns what stands for its compilation."""

    def __getitem__(self, grid):
        search = super().__getitem__(grid)
        return lambda *arguments, **options: Promise(search(*arguments, **options))


class Promise:
    def __init__(self, compilation: FakeCompilation) -> None:
        self.compilation = compilation

    def result(self) -> FakeCompilation:
        return self.compilation


def test_what_stands_for_a_compilation_is_not_launched():
    kernel = AskedKernel()
    launch = Launch(kernel, {"INTERPRET": False, "BLOCK": 64}, {})
    for size in (3, 4):
        launch((1, 1, 1), ("aligned",), "x", size)
    assert len(kernel.searches) == 1
    assert kernel.straight == [((1, 1, 1), ("x", 4, 64, False))]


def test_one_search_a_kind():
    kernel = FakeKernel()
    launch = Launch(kernel, {"INTERPRET": False, "BLOCK": 64}, {"num_warps": 4})
    for size in (3, 4, 5):
        launch((size, 1, 1), ("aligned",), "x", size)
    launch((9, 1, 1), ("not aligned",), "y", 9)
    assert kernel.searches == [
        ((3, 1, 1), ("x", 3, 64, False), {"num_warps": 4}),
        ((9, 1, 1), ("y", 9, 64, False), {"num_warps": 4}),
    ]
    assert kernel.straight == [((4, 1, 1), ("x", 4, 64, False)), ((5, 1, 1), ("x", 5, 64, False))]


def test_the_interpreter_compiles_nothing():
    kernel = FakeKernel(compiles=False)
    launch = Launch(kernel, {"BLOCK": 64, "INTERPRET": True}, {})
    launch((1, 1, 1), (), "x", 1)
    launch((1, 1, 1), (), "x", 1)
    assert len(kernel.searches) == 2


def test_kinds_differ_where_triton_compiles_again():
    x = torch.zeros(8, 64, dtype=torch.bfloat16)
    assert kind_of(x) == kind_of(x[4:6])
    assert kind_of(x) == kind_of(x[:, 8:16])
    different = [None, x.half(), x[:, 1:9], torch.zeros(8, 24, dtype=torch.bfloat16), x[0, :, None]]
    kinds = [kind_of(tensor) for tensor in (x, *different)]
    assert len(set(kinds)) == len(kinds)


def test_each_gpu_loads_a_kernel_for_itself():
    """A launch that all matrices share is searched for once a device, though two may be alike."""
    pytest.importorskip("triton")
    from kernels.step_launch import kinds

    x = torch.zeros(8, 64, dtype=torch.bfloat16)
    assert kinds(x, None) == kinds(x[4:6], None)
    different = [kinds(x.to("meta"), None), kinds(x, x), kinds(x.half(), None), kinds(x[:, 1:], None)]
    assert len({kinds(x, None), *different}) == 5
