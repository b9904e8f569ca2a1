"""The 16-bit model that a checkpoint stands for, in the tensors that its source had.

Each weight is code × scale, rounded to the scale's dtype: what compressed-tensors makes of it too.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from quantizer.export.exporting import Losses
from quantizer.export.folder import write_folder
from quantizer.plan import MatrixPlan
from quantizer.reader import Checkpoint
from quantizer.watch import Watch


class Exporter:
    """See `exporting.Exporter`. Who asks for 16 bits asks for rounding: it need not be asked twice."""

    asks = False

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.matrices = len(checkpoint.matrices)

    def losses(self) -> Losses:
        return Losses(inexact=("Each weight is code × scale, rounded to the scale's 16 bits.",))

    def write(self, place: Path, watch: Watch) -> None:
        config = {
            name: value for name, value in self.checkpoint.config.items() if name != "quantization_config"
        }
        write_folder(place, self.checkpoint.folder, self._tensors(watch), config)

    def _tensors(self, watch: Watch) -> Iterator[tuple[str, Tensor]]:
        for name, kept in self.checkpoint.kept.items():
            yield name, kept.load()
        plan = self.checkpoint.manifest.plan.matrices if self.checkpoint.manifest is not None else ()
        planned = {matrix.name for matrix in plan}
        done = 0
        for names, tensors in self._by_source(plan):
            watch.checkpoint()
            yield from tensors
            done += names
            watch.progress(done)
        for name, stored in self.checkpoint.matrices.items():
            if name in planned:
                continue
            watch.checkpoint()
            for index, module in enumerate(stored.modules):
                packed = stored.load() if len(stored.shape) == 2 else stored.load_expert(index)
                yield f"{module}.weight", packed.dequantize(packed.scales.dtype)
            done += 1
            watch.progress(done)

    def _by_source(self, plan: tuple[MatrixPlan, ...]) -> Iterator[tuple[int, Iterator[tuple[str, Tensor]]]]:
        """(matrices, their tensors) of each tensor or set of tensors that the source had."""
        parts: dict[tuple[str, ...], list[MatrixPlan]] = defaultdict(list)
        for matrix in plan:
            parts[matrix.tensors].append(matrix)
        for tensors, members in parts.items():
            yield len(members), self._of_source(tensors, members)

    def _of_source(self, tensors: tuple[str, ...], members: list[MatrixPlan]) -> Iterator[tuple[str, Tensor]]:
        if len(members[0].shape) == 2 or len(tensors) > 1:
            (matrix,) = members
            stored = self.checkpoint.matrices[matrix.name]
            for index, name in enumerate(tensors):
                packed = stored.load() if len(matrix.shape) == 2 else stored.load_expert(index)
                weight = packed.dequantize(packed.scales.dtype)
                if name in self.checkpoint.kept:  # a tied head, packed beside the embedding
                    name = f"{matrix.name}.weight"  # noqa: PLW2901
                yield name, weight.t().contiguous() if matrix.transposed else weight
            return
        members = sorted(members, key=lambda matrix: matrix.first_row)
        joined = []
        for expert in range(members[0].shape[0]):  # experts that lay fused, gate above up
            packed_parts = [self.checkpoint.matrices[m.name].load_expert(expert) for m in members]
            rows = torch.cat([part.dequantize(part.scales.dtype) for part in packed_parts])
            joined.append(rows.t() if members[0].transposed else rows)
        yield tensors[0], torch.stack(joined)
