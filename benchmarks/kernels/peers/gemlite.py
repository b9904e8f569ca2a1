"""gemlite: Triton kernels with tuned configurations a GPU, the direct peer."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernels.peers.peer import Packed, Peer, Tensors, UnsupportedError, require_bits
from benchmarks.kernels.weights import Weights

AUTO = -1  # gemlite chooses the kernel


class Gemlite(Peer):
    """`GemLiteLinear`: weight = (stored - zero) * scale, 8 codes of 4 bits a word along K.

    It comes with configurations for an H100, which an H200 takes too: both have the same multiprocessors. A
    shape that they do not hold would be tuned in its first call, 8 to 12 seconds each: only with `tune`.
    """

    name = "gemlite"

    def open(self) -> str:
        import gemlite

        self.core: Any = gemlite.core
        shipped = Path(gemlite.__file__).parent / "configs" / "h100.json"
        if not self.core.GEMLITE_TRITON_CONFIG_CACHE and torch.cuda.get_device_capability() == (9, 0):
            gemlite.load_config(str(shipped))
        # What it tunes itself comes after: only what it was shipped with counts as known.
        self.known = {
            (kernel, signature)
            for kernel, entries in self.core.GEMLITE_TRITON_CONFIG_CACHE.items()
            for signature in entries
        }
        return f"gemlite {gemlite.__version__}"

    def pack(self, weights: Weights) -> Packed:
        from gemlite.helper import A16Wn

        require_bits(weights, 4, 8)
        stored = (weights.codes.to(torch.int16) + weights.zero).to(torch.uint8)
        layer = A16Wn(device=str(weights.codes.device), dtype=weights.dtype).from_weights(
            stored,
            weights.scales,
            torch.full_like(weights.scales, weights.zero),
            weights.scheme.bits,
            weights.scheme.group_size or weights.k,
        )
        names = ("codes", "scales", "zeros", "meta_scale")
        tensors = dict(zip(names, (t.detach() for t in layer.get_tensor_args()), strict=True))
        meta = layer.get_meta_args()
        self.elements = layer.elements_per_sample

        def call(tensors: Tensors, x: Tensor) -> Tensor:
            arguments = [tensors[name] for name in names]
            kind = self.kernel_number(weights, x.shape[0])
            return self.core.forward_functional(x, None, arguments, meta, kind)

        return Packed(tensors, call)

    def signature(self, weights: Weights, rows: int) -> str:
        """The key of a configuration; bfloat16 shares float16's."""
        type_id = self.core.DType.FP16.value * 100 + weights.scheme.bits
        group = weights.scheme.group_size or weights.k
        closest = self.core.utils.get_closest_m(rows)
        return str((closest, weights.n, weights.k, group, self.elements, type_id))

    def kernel_number(self, weights: Weights, rows: int) -> int:
        """Its own choice, but where it has no configuration for that and one for split-K, split-K.

        Its rule takes the kernel for one row up to four, without configurations for two to four, and is four
        times slower there.
        """
        signature = self.signature(weights, rows)
        choice = self.core.get_matmul_type(rows, weights.scheme.bits)
        if (choice, signature) not in self.known and ("GEMM_SPLITK", signature) in self.known:
            return int(self.core.GEMLITE_MATMUL_TYPES_MAPPING["GEMM_SPLITK"])
        return AUTO

    def check_rows(self, weights: Weights, rows: int) -> None:
        if self.tune:
            return
        signature = self.signature(weights, rows)
        if not any((kernel, signature) in self.known for kernel in self.core.GEMLITE_TRITON_CONFIG_CACHE):
            raise UnsupportedError("no shipped configuration for this shape (--tune-peers lets it tune one)")
