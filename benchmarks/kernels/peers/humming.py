"""Humming: kernels compiled for each shape in its first call, by nvcc or NVRTC.

Left alone it compiles one for every interval of rows that its rule knows, 92 for a linear and 191 for a stack
of experts. Here it is given the entry of that rule for the rows at hand, so only that one is compiled.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernels.peers.peer import Packed, Peer, Tensors, UnsupportedError
from benchmarks.kernels.weights import Weights

NVCC = Path("/usr/local/cuda/bin/nvcc")
NO_BUILDS = "HUMMING_DISABLE_PARALLEL_BUILD"
CODES_AT_ONCE = 1 << 27  # of a matrix that is packed, as int32: half a gigabyte


class Humming(Peer):
    """`humming_forward` on a layer that was transformed once; its own rule chooses the kernel."""

    name = "humming"

    def open(self) -> str:
        # NVRTC, its first choice, needs headers that a machine with nvcc may lack.
        if NVCC.exists() or shutil.which("nvcc"):
            os.environ.setdefault("HUMMING_COMPILER", "nvcc")
        # Its import starts builds in the background, beside the timings, of what the wheel holds built.
        before = os.environ.get(NO_BUILDS)
        os.environ[NO_BUILDS] = "1"
        import humming
        from humming import forward, layer, ops, tune

        if before is None:
            del os.environ[NO_BUILDS]  # it would also keep compilers from running beside each other

        self.layer: Any = layer.HummingLayer
        self.forward: Any = forward.humming_forward
        self.ops: Any = ops
        self.rule: Any = tune.get_heuristics_config
        return f"humming {humming.__version__}"

    def words(self, weights: Weights) -> Tensor:
        """Stored codes as it packs them, int32 `[..., N, K * bits / 32]`."""
        rows = max(1, CODES_AT_ONCE // weights.k)
        parts = [
            self.ops.pack_weight(part.to(torch.int32) + weights.zero, weights.scheme.bits)
            for part in weights.codes.flatten(0, -2).split(rows)
        ]
        return torch.cat([part.view(-1, weights.k * weights.scheme.bits // 32) for part in parts]).view(
            *weights.codes.shape[:-1], -1
        )

    def transformed(self, weights: Weights) -> Any:
        """A layer, or a stack of experts, in the form its kernels read."""
        config: dict[str, object] = {"dtype": f"int{weights.scheme.bits}"}
        if weights.scheme.group_size is not None:
            config["group_size"] = weights.scheme.group_size
        experts = weights.codes.shape[0] if weights.codes.dim() == 3 else None
        layer = self.layer(
            shape_n=weights.n,
            shape_k=weights.k,
            weight_config=config,
            torch_dtype=weights.dtype,
            num_experts=experts,
        ).cuda()
        layer.load_from_tensors({"weight": self.words(weights), "weight_scale": weights.scales})
        layer.transform()
        return layer

    def tuning(self, layer: Any, rows: int, kind: str = "dense") -> Any:
        """What its rule takes for so many rows."""
        for above, most, chosen in self.rule(layer.humming_config, gemm_type=kind):
            if above < rows <= most:
                return chosen
        raise UnsupportedError(f"its rule knows nothing for {rows} rows")

    def pack(self, weights: Weights) -> Packed:
        layer = self.transformed(weights)
        names = ("weight", "weight_scale", "weight_scale_2", "zero_point", "locks")
        held = {name: getattr(layer, name, None) for name in names}
        tensors = {name: tensor.detach() for name, tensor in held.items() if tensor is not None}

        def call(tensors: Tensors, x: Tensor) -> Tensor:
            tuning = self.tuning(layer, x.shape[0])
            return self.forward(layer.humming_config, inputs=x, tuning_config=tuning, **tensors)

        return Packed(tensors, call)
