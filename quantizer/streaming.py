"""One part of the output: source blocks in, packed codes and scales out, a block of rows at a time."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fqconsole.models.description import TensorInfo
from quantizer.blocks import quantize_rows
from quantizer.device import block_rows
from quantizer.journal import MatrixSums, WrittenShard
from quantizer.parts import Part, Piece
from quantizer.plan import Plan
from quantizer.shards import ShardWriter
from quantizer.source import TensorFile, as_bytes
from quantizer.tally import merge_sums

OnBlock = Callable[[int, str], None]  # (source bytes worked through, name); may raise to end the run
OnPiece = Callable[[MatrixSums], None]


def write_part(
    folder: Path,
    part: Part,
    plan: Plan,
    source: TensorFile,
    device: torch.device,
    *,
    on_block: OnBlock,
    on_piece: OnPiece,
) -> tuple[WrittenShard, tuple[MatrixSums, ...]]:
    """Write one output file. What is unfinished when anything is raised is deleted.

    Raises OperatorError for unreadable sources, weights that are not finite and failed writes, and whatever
    the two callbacks raise.
    """
    writer = ShardWriter(folder, part.file, part.tensors)
    sums: dict[int, MatrixSums] = {}
    try:
        for item in part.items:
            if isinstance(item, TensorInfo):
                _copy(item, source, writer, on_block)
                continue
            done = _quantize(item, plan, source=source, writer=writer, device=device, on_block=on_block)
            sums[item.matrix] = merge_sums(sums[item.matrix], done) if item.matrix in sums else done
            on_piece(done)
        return writer.finish(), tuple(sums.values())
    except BaseException:
        writer.discard()
        raise


def _copy(tensor: TensorInfo, source: TensorFile, writer: ShardWriter, on_block: OnBlock) -> None:
    """A kept tensor goes over byte by byte."""
    for offset, data in source.blocks(tensor):
        writer.write(tensor.name, data, offset)
        on_block(len(data), tensor.name)


def _quantize(
    piece: Piece,
    plan: Plan,
    *,
    source: TensorFile,
    writer: ShardWriter,
    device: torch.device,
    on_block: OnBlock,
) -> MatrixSums:
    shape = np.array([piece.rows, piece.k], dtype=np.int64)
    writer.write(f"{piece.module}.weight_shape", shape.view(np.uint8))
    step = block_rows(device, piece.k)
    squared_error = squared_norm = 0.0
    begun = time.perf_counter()
    packed_at = scales_at = 0
    for first in range(0, piece.rows, step):
        count = min(step, piece.rows - first)
        rows = source.rows(piece.tensor, piece.first_row + first, count).to(device)
        block = quantize_rows(rows, plan.matrices[piece.matrix], plan, piece.module)
        squared_error += block.squared_error
        squared_norm += block.squared_norm
        packed_bytes, scale_bytes = as_bytes(block.packed), as_bytes(block.scales)
        writer.write(f"{piece.module}.weight_packed", packed_bytes, packed_at)
        writer.write(f"{piece.module}.weight_scale", scale_bytes, scales_at)
        packed_at += len(packed_bytes)
        scales_at += len(scale_bytes)
        on_block(count * piece.row_bytes, piece.module)
    return MatrixSums(piece.matrix, 1, squared_error, squared_norm, time.perf_counter() - begun)
