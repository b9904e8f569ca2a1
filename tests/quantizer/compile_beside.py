"""Compile a job's kernels for a GPU that is not here, while they are launched. Run by `test_preparing.py`.

Writes a JSON object: which kernels were put on the GPU, whether any later than by the thread that prepares
them, and which were launched. A process of its own, because it needs the real compiler.
"""

import contextlib
import json
import sys

import msgspec
import torch
from triton.compiler import CompiledKernel
from triton.runtime import driver

from fqconsole.models.description import ModelDescription
from quantizer import blocks, preparing
from quantizer.balance_kernel import candidates_on_gpu, errors_on_gpu
from quantizer.block_kernel import block_on_gpu
from quantizer.methods import methods_of
from quantizer.plan import ChannelSet, MatrixPlan, Plan
from quantizer.range_kernel import ranges_on_gpu
from quantizer.scheme import Scheme
from tests.kernels.compile_together import StandInDriver

NORM = ChannelSet("norm", ("m",), kept_readers=("router",), offset=1.0)
ROWS = ChannelSet("v", ("m",), of_rows=True, head=64)


class Weights(msgspec.Struct):
    """Of a tensor what counts here."""

    name: str = "m.weight"
    dtype: str = "BF16"


class Model(msgspec.Struct):
    """Of a description what counts here."""

    tensors: tuple[Weights, ...] = (Weights(),)


def main() -> None:
    driver.set_active(StandInDriver())
    torch.cuda.set_device = lambda device: None
    torch.cuda.device = lambda device: contextlib.nullcontext()
    for module in (blocks, preparing):
        module.runs_triton = lambda device: True
    preparing.compiles_together = lambda device: True
    put: list[str] = []
    launched: list[str] = []

    def put_on_gpu(self: CompiledKernel) -> None:
        if self.module is None:
            self.module = self
            self._run = lambda *arguments: launched.append(self.name)
            put.append(self.name)

    CompiledKernel._init_handles = put_on_gpu
    matrix = MatrixPlan("m", ("m.weight",), (16, 4096), 0, "m", "m", Scheme(4, 64))
    plan = Plan("m", None, 4, "fixed", 64, 0.7, "bfloat16", (matrix,), ())
    plan = msgspec.structs.replace(plan, methods=methods_of("best"))
    rows, ones = torch.ones(16, 4096, dtype=torch.bfloat16), torch.ones(4096)
    model: ModelDescription = Model()  # type: ignore[assignment]
    thread = preparing.prepare_kernels(model, plan, torch.device("cpu"), analysing=True)
    for _ in range(2):  # the thread may be before or behind these
        block_on_gpu(rows, 4, 64, "search", torch.bfloat16)
    assert thread is not None
    thread.join()
    prepared = len(put)
    for held, known in ((NORM, ones.bfloat16()), (ROWS, ones)):
        candidates = candidates_on_gpu(held, known, ones, 8)
    errors_on_gpu(rows.float(), [9, 7], candidates, 4, 64, "search", torch.bfloat16, weighing=True)
    ranges_on_gpu(rows, ones, ones[:16])
    block_on_gpu(rows, 4, 64, "search", torch.bfloat16, factors=ones, importance=ones)
    json.dump({"put": sorted(put), "put later": len(put) > prepared, "launched": launched}, sys.stdout)


if __name__ == "__main__":
    main()
