"""GGUF, as llama.cpp reads it: int8 becomes Q8_0, int4 and int3 become Q4_0, all else stays as it was.

A block of either is 32 codes with a scale d in float16, and a weight is code × d, as ours:

    Q8_0   d, then 32 int8
    Q4_0   d, then 16 bytes: code i + 8 in the lower half of byte i, code 16 + i + 8 in its upper half

so groups of 32 or any multiple fit, each block with the scale of its group.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fqconsole.errors import OperatorError
from fqconsole.installing import to_have
from kernels.packed_matrix import PackedMatrix
from quantizer.export.exporting import Losses, some
from quantizer.export.gguf_words import ARCHITECTURES, Words, read_words, rope_factors
from quantizer.export.gptq import half_losses
from quantizer.reader import Checkpoint, KeptInCheckpoint, StoredMatrix
from quantizer.watch import Watch

BLOCK = 32
Q8_0, Q4_0 = "Q8_0", "Q4_0"
BLOCK_BYTES = {Q8_0: 34, Q4_0: 18}


@dataclass(frozen=True)
class _Entry:
    """A tensor of the file: name, shape and type word as the file says them, and its bytes when asked for."""

    name: str
    shape: tuple[int, ...]
    kind: str  # "F32", "F16", "BF16", "Q8_0", "Q4_0"
    data: Callable[[], np.ndarray[Any, Any]]


class Exporter:
    """See `exporting.Exporter`."""

    asks = True

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises OperatorError for an architecture, a group or a tokenizer that it can't write."""
        self.gguf = _package()
        self.checkpoint = checkpoint
        self.matrices = len(checkpoint.matrices)
        self.words: Words = read_words(checkpoint)
        odd = [
            name
            for name, stored in checkpoint.matrices.items()
            if (stored.scheme.group_size or stored.shape[-1]) % BLOCK or stored.shape[-1] % BLOCK
        ]
        if odd:
            raise OperatorError(
                f"A scale of GGUF spans {BLOCK} weights, and those of {some(odd)} span no multiple of it.",
                "Quantize with groups of 32 or more: --group-size 32.",
            )

    def losses(self) -> Losses:
        changed = half_losses(self.checkpoint)
        reasons = [f"its scales are float16, and those of {some(changed)} don't fit."] if changed else []
        reasons += [self.words.tokenizer.doubt] if self.words.tokenizer.doubt else []
        narrow = [s.scheme.bits for s in self.checkpoint.matrices.values() if s.scheme.bits < 4]
        notes = ["int3 is stored in the 4 bits of Q4_0."] if narrow else []
        return Losses(tuple(reasons), tuple(notes))

    def write(self, place: Path, watch: Watch) -> None:
        writer = self.gguf.GGUFWriter(place, self.words.architecture)
        self.words.tell(writer, self.gguf)
        widest = max(stored.scheme.bits for stored in self.checkpoint.matrices.values())
        types = self.gguf.LlamaFileType
        writer.add_file_type(int(types.MOSTLY_Q8_0 if widest == 8 else types.MOSTLY_Q4_0))
        writer.add_quantization_version(self.gguf.GGML_QUANT_VERSION)
        entries = list(self._entries())
        kinds = self.gguf.GGMLQuantizationType
        for entry in entries:
            shape = _bytes_shape(entry)
            writer.add_tensor_info(
                entry.name, shape, np.dtype(np.uint8), int(np.prod(shape)), raw_dtype=kinds[entry.kind]
            )
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for done, entry in enumerate(entries, start=1):
                watch.checkpoint()
                writer.write_tensor_data(np.ascontiguousarray(entry.data()).view(np.uint8))
                watch.progress(min(done, self.matrices))
        finally:
            writer.close()

    def _entries(self) -> Iterator[_Entry]:
        factors = rope_factors(self.words.config)
        if factors is not None:
            data = factors.to(torch.float32).view(torch.uint8).numpy
            yield _Entry("rope_freqs.weight", tuple(factors.shape), "F32", data)
        for name, kept in self.checkpoint.kept.items():
            yield self._kept(name, kept)
        for name, stored in self.checkpoint.matrices.items():
            yield self._matrix(name, stored)

    def _kept(self, name: str, kept: KeptInCheckpoint) -> _Entry:
        kind = kept.dtype if kept.dtype in ("F16", "BF16", "F32") else ""
        # llama.cpp wants norms, biases and routers in float32; that loses nothing.
        wide = len(kept.shape) == 1 or name.endswith(("gate.weight", "gate_inp.weight"))
        if not kind:
            raise OperatorError(f"GGUF can't hold {name}, which is stored as {kept.dtype}.", "Nothing to do.")

        def data() -> np.ndarray[Any, Any]:
            tensor = self._turned(name, kept.load())
            return (tensor.float() if wide else tensor).contiguous().view(torch.uint8).numpy()

        return _Entry(self.words.name_of(name), kept.shape, "F32" if wide else kind, data)

    def _matrix(self, name: str, stored: StoredMatrix) -> _Entry:
        kind = Q8_0 if stored.scheme.bits == 8 else Q4_0

        def data() -> np.ndarray[Any, Any]:
            blocks = []
            for expert in range(len(stored.modules)):
                packed = stored.load() if len(stored.shape) == 2 else stored.load_expert(expert)
                codes = self._turned(name, packed.unpack())
                blocks.append(ggml_blocks(codes, self._turned(name, _half_scales(packed)), kind))
            return np.stack(blocks) if len(stored.shape) == 3 else blocks[0]

        return _Entry(self.words.name_of(name + ".weight"), stored.shape, kind, data)

    def _turned(self, name: str, rows: Tensor) -> Tensor:
        """Rows in the order that this architecture's rotary embedding has in GGUF."""
        order = self.words.row_order(name, rows.shape[0])
        return rows if order is None else rows[order]


def ggml_blocks(codes: Tensor, scales: Tensor, kind: str) -> np.ndarray[Any, Any]:
    """Rows of blocks, uint8 `[N, K/32 · bytes of a block]`, of int8 codes `[N, K]` and float16 scales
    `[N, K/32]`.
    """
    n, k = codes.shape
    runs = codes.reshape(n, k // BLOCK, BLOCK)
    head = scales.contiguous().view(torch.uint8).reshape(n, k // BLOCK, 2)
    if kind == Q8_0:
        body = runs.contiguous().view(torch.uint8)
    else:
        stored = (runs + 8).to(torch.uint8)
        body = stored[..., : BLOCK // 2] | stored[..., BLOCK // 2 :] << 4
    return torch.cat([head, body], dim=-1).reshape(n, -1).numpy()


def _half_scales(packed: PackedMatrix) -> Tensor:
    """float16 `[N, K/32]`: of each block the scale of its group."""
    repeat = (packed.group_size or packed.k) // BLOCK
    return packed.scales.to(torch.float16).repeat_interleave(repeat, dim=1)


def _bytes_shape(entry: _Entry) -> tuple[int, ...]:
    *rows, k = entry.shape
    if entry.kind in BLOCK_BYTES:
        return (*rows, k // BLOCK * BLOCK_BYTES[entry.kind])
    return (*rows, k * (4 if entry.kind == "F32" else 2))


def _package() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise OperatorError("The package gguf is not installed.", to_have("gguf")) from error
    return gguf


__all__ = ["ARCHITECTURES", "Exporter", "ggml_blocks"]
