"""The GPTQ layout: symmetric codes packed along K, scales in float16, one width and one group for all.

Of each `X.weight` `[N, K]` in b bits and groups of g:

    X.qweight int32 [K·b/32, N]     code + 2^(b-1), element i of a column at bit i·b, lowest first
    X.scales  float16 [K/g, N]
    X.qzeros  int32 [K/g, N·b/32]   2^(b-1) − 1 everywhere: readers of this layout add one to a zero point
    X.g_idx   int32 [K]             the group of each row of K

Widths and groups that differ are brought to the widest and the finest, which loses nothing but bytes.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fqconsole.errors import OperatorError
from kernels.packed_matrix import PackedMatrix
from kernels.packing import pack_codes
from quantizer.export.exporting import Losses, some
from quantizer.export.folder import write_folder
from quantizer.matrices import layer_of
from quantizer.reader import Checkpoint
from quantizer.watch import Watch

WORD_BITS = 32


class Exporter:
    """See `exporting.Exporter`."""

    asks = True

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises OperatorError for rows that do not fill whole words, which this layout can't hold."""
        self.checkpoint = checkpoint
        stored = checkpoint.matrices.values()
        self.matrices = len(checkpoint.matrices)
        self.bits = max(matrix.scheme.bits for matrix in stored)
        groups = {matrix.scheme.group_size for matrix in stored}
        lengths = [matrix.scheme.group_size or matrix.shape[-1] for matrix in stored]
        self.group_size = None if groups == {None} else math.gcd(*lengths)
        for matrix in stored:
            if any(size * self.bits % WORD_BITS for size in matrix.shape[-2:]):
                raise OperatorError(
                    f"The GPTQ layout packs whole words, and {matrix.name} is {list(matrix.shape[-2:])}.",
                    "Serve the checkpoint as it is: vLLM and SGLang read it.",
                )

    def losses(self) -> Losses:
        notes = []
        widths = {matrix.scheme.bits for matrix in self.checkpoint.matrices.values()}
        if len(widths) > 1:
            notes.append(f"Every matrix is stored in {self.bits} bits: this layout has one width.")
        if len({matrix.scheme.group_size for matrix in self.checkpoint.matrices.values()}) > 1:
            notes.append(f"Every matrix has groups of {self.group_size}: this layout has one group size.")
        changed = half_losses(self.checkpoint)
        reasons = (f"its scales are float16, and those of {some(changed)} don't fit.",) if changed else ()
        return Losses(reasons, tuple(notes))

    def write(self, place: Path, watch: Watch) -> None:
        config = {**self.checkpoint.config, "quantization_config": self.config()}
        write_folder(place, self.checkpoint.folder, self._tensors(watch), config)

    def config(self) -> dict[str, Any]:
        """The `quantization_config`."""
        return {
            "quant_method": "gptq",
            "bits": self.bits,
            "group_size": -1 if self.group_size is None else self.group_size,
            "sym": True,
            "desc_act": False,
            "lm_head": any(layer_of(name) is None for name in self.checkpoint.matrices),
            "checkpoint_format": "gptq",
        }

    def _tensors(self, watch: Watch) -> Iterator[tuple[str, Tensor]]:
        for name, kept in self.checkpoint.kept.items():
            yield name, kept.load()
        for done, stored in enumerate(self.checkpoint.matrices.values(), start=1):
            watch.checkpoint()
            for index, module in enumerate(stored.modules):
                packed = stored.load() if len(stored.shape) == 2 else stored.load_expert(index)
                for part, tensor in gptq_tensors(packed, self.bits, self.group_size).items():
                    yield f"{module}.{part}", tensor
            watch.progress(done)


def gptq_tensors(packed: PackedMatrix, bits: int, group_size: int | None) -> dict[str, Tensor]:
    """The four tensors of one matrix `[N, K]`, with its codes in `bits` and its scales once for each group of
    `group_size` (a divisor of its own).
    """
    length = group_size or packed.k
    repeat = (packed.group_size or packed.k) // length
    scales = packed.scales.repeat_interleave(repeat, dim=1).t().to(torch.float16)
    zero = torch.full((scales.shape[0], packed.n), -1, dtype=torch.int8)  # −1 + 2^(bits−1), once packed
    return {
        "qweight": pack_codes(packed.unpack(), bits).t().contiguous(),
        "scales": scales.contiguous(),
        "qzeros": pack_codes(zero, bits),
        "g_idx": (torch.arange(packed.k) // length).to(torch.int32),
    }


def half_losses(checkpoint: Checkpoint) -> list[str]:
    """Matrices with a scale that float16 changes."""
    changed = []
    for name, stored in checkpoint.matrices.items():
        for index in range(len(stored.modules)):
            scales = stored.load_scales(index)
            if not torch.equal(scales.to(torch.float16).float(), scales.float()):
                changed.append(name)
                break
    return changed
