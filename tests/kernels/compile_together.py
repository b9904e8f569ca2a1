"""Ask for kernels of a GPU that is not here and compile them side by side. Run by `test_compilation.py`.

Writes a JSON object: what was asked for, what was compiled, what was put on the GPU, what was launched. A
process of its own, because it needs the real compiler, whatever TRITON_INTERPRET says around it.
"""

import json
import sys
import threading

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime import driver

from kernels.compilation import asked_for, is_asking
from kernels.lane_layout import LaneMatrix
from kernels.norms_kernel import norm_launch
from kernels.ring_plan import RingPlan
from kernels.ring_tiles import RingTile
from kernels.tiles import Gpu
from tests.kernels.cases import lanes_without_memory


class StandInDriver:
    """A Hopper GPU that takes everything and does nothing."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return device

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


def matrix() -> LaneMatrix:
    return lanes_without_memory(4, 64, 4096, 4096, torch.bfloat16)


def main() -> None:
    driver.set_active(StandInDriver())
    torch.cuda.set_device = lambda device: None
    on_gpu: list[str] = []
    threads: set[int] = set()

    def put_on_gpu(self: CompiledKernel) -> None:
        if self.module is not None:
            return
        self.module = self
        self._run = lambda *arguments: launched.append(self.name)
        on_gpu.append(self.name)
        threads.add(threading.get_ident())

    launched: list[str] = []
    CompiledKernel._init_handles = put_on_gpu  # what `run` makes when it is first asked for
    x = torch.empty((32, 4096), dtype=torch.bfloat16, device="meta")
    weight = torch.empty(4096, dtype=torch.bfloat16, device="meta")
    ring = RingPlan(matrix(), RingTile(16, 4, 1, 4, 4, 3, sums=True), 132, 32)
    norm = norm_launch(Gpu(90), 4096, "rms", weight=True, bias=False, residual=False, before=False)

    def forward() -> None:
        norm((32, 1, 1), (), x, None, None, weight, None, x, x, 1e-6)
        ring.multiply(x, None)
        ring.multiply(x, None)

    with asked_for(torch.device("cuda", 0)):
        asking = is_asking()
        forward()
        silent = not launched
    put = sorted(on_gpu)
    forward()
    said = {
        "asking": asking and not is_asking(),
        "silent": silent,
        "put": put,
        "put later": sorted(on_gpu) != put,
        "in threads": threading.get_ident() not in threads,
        "launched": launched,
    }
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
