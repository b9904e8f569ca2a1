"""What goes into which output file: the plan laid over the source's files, from shapes and offsets alone.

Output follows the source file by file, because every matrix is quantized on its own: one source file becomes
one part, and a very large one several, so that a killed run never loses more than one part.
"""

from collections import defaultdict
from typing import NoReturn

import msgspec

from fqconsole.errors import UsageError
from fqconsole.models.description import ModelDescription, TensorInfo
from quantizer.plan import MatrixPlan, Plan
from quantizer.scheme import words_per_row

# The customary 5 GB shards of the hub stay one part each.
PART_BYTES = 5_500_000_000
SHAPE_BYTES = 16  # weight_shape: two int64
SCALE_WORDS = {"bfloat16": "BF16", "float16": "F16"}


class Piece(msgspec.Struct, frozen=True):
    """One 2-D matrix `[rows, k]` as it is stored: a whole source tensor, or a share of one.

    `first_row` counts in the tensor seen as `[rows, k]`. Where the source is `transposed`, it lies there as
    columns: those from `first_row` in the `[k, all columns]` of expert `expert`.
    """

    matrix: int  # index in the plan's matrices
    module: str  # name in the output, without ".weight_packed"
    tensor: TensorInfo
    first_row: int
    rows: int
    transposed: bool = False
    expert: int = 0

    @property
    def k(self) -> int:
        return self.tensor.shape[-2] if self.transposed else self.tensor.shape[-1]

    @property
    def source_start(self) -> int:
        """Byte in the source file where the piece begins."""
        if not self.transposed:
            return self.tensor.start + self.first_row * self.row_bytes
        columns = self.tensor.shape[-1]
        before = self.expert * self.k * columns + self.first_row
        return self.tensor.start + before * (self.row_bytes // self.k)

    @property
    def row_bytes(self) -> int:
        return self.tensor.bytes // (self.tensor.elements // self.k)

    @property
    def source_bytes(self) -> int:
        return self.rows * self.row_bytes


class StoredTensor(msgspec.Struct, frozen=True):
    """One tensor of an output file."""

    name: str
    dtype: str  # safetensors' word
    shape: tuple[int, ...]
    bytes: int


class Part(msgspec.Struct, frozen=True):
    """One output file: pieces to quantize and tensors to copy, all from one source file, in its order."""

    file: str
    source_file: str
    ends_source: bool  # the last part of its source file
    items: tuple[Piece | TensorInfo, ...]
    tensors: tuple[StoredTensor, ...]

    @property
    def payload(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def source_bytes(self) -> int:
        return sum(item_source_bytes(item) for item in self.items)


def plan_parts(description: ModelDescription, plan: Plan, part_bytes: int = PART_BYTES) -> tuple[Part, ...]:
    """Lay the plan over the source's files; a part holds at most `part_bytes` of source, or one tensor.

    Raises UsageError when the plan was made for other tensors than the description has.
    """
    tensors = {tensor.name: tensor for tensor in description.tensors}
    items: dict[str, list[Piece | TensorInfo]] = defaultdict(list)
    for index, matrix in enumerate(plan.matrices):
        for piece in _pieces(index, matrix, tensors):
            items[piece.tensor.file].append(piece)
    for kept in plan.kept:
        items[_tensor(tensors, kept.name, kept.shape).file].append(tensors[kept.name])
    planned = {name for matrix in plan.matrices for name in matrix.tensors} | {k.name for k in plan.kept}
    if planned != set(tensors):
        _refuse(sorted(planned ^ set(tensors))[0])
    cuts: list[tuple[str, bool, list[Piece | TensorInfo]]] = []
    for file in sorted(items):
        pieces = _cut(sorted(items[file], key=_source_start), part_bytes)
        cuts.extend((file, held is pieces[-1], held) for held in pieces)
    return tuple(
        Part(
            file=_part_name(index, len(cuts)),
            source_file=file,
            ends_source=last,
            items=tuple(held),
            tensors=tuple(stored for item in held for stored in stored_tensors(item, plan)),
        )
        for index, (file, last, held) in enumerate(cuts)
    )


def stored_tensors(item: Piece | TensorInfo, plan: Plan) -> tuple[StoredTensor, ...]:
    """What one item becomes in the output file."""
    if isinstance(item, TensorInfo):
        return (StoredTensor(item.name, item.dtype, item.shape, item.bytes),)
    scheme = plan.matrices[item.matrix].scheme
    words, groups = words_per_row(item.k, scheme.bits), scheme.groups(item.k)
    scale_word = SCALE_WORDS[plan.scale_dtype]
    return (
        StoredTensor(f"{item.module}.weight_packed", "I32", (item.rows, words), item.rows * words * 4),
        StoredTensor(f"{item.module}.weight_scale", scale_word, (item.rows, groups), item.rows * groups * 2),
        StoredTensor(f"{item.module}.weight_shape", "I64", (2,), SHAPE_BYTES),
    )


def item_source_bytes(item: Piece | TensorInfo) -> int:
    """Bytes that are read for one item."""
    return item.bytes if isinstance(item, TensorInfo) else item.source_bytes


def expert_module(stack: str, expert: int) -> str:
    """Name of one expert's matrix: `….experts.gate_proj` and 3 give `….experts.3.gate_proj`."""
    place, _, kind = stack.rpartition(".")
    return f"{place}.{expert}.{kind}"


def _pieces(index: int, matrix: MatrixPlan, tensors: dict[str, TensorInfo]) -> list[Piece]:
    if len(matrix.shape) == 2:
        stored = matrix.shape[::-1] if matrix.transposed else matrix.shape
        tensor = _tensor(tensors, matrix.tensors[0], stored)
        return [Piece(index, matrix.name, tensor, 0, matrix.shape[0], matrix.transposed)]
    experts, rows, k = matrix.shape
    if len(matrix.tensors) == experts:
        found = [_tensor(tensors, name, (rows, k)) for name in matrix.tensors]
        return [Piece(index, t.name.removesuffix(".weight"), t, 0, rows) for t in found]
    fused = tensors.get(matrix.tensors[0])
    along_k = 1 if matrix.transposed else 2
    if fused is None or len(fused.shape) != 3 or fused.shape[0] != experts or fused.shape[along_k] != k:
        _refuse(matrix.tensors[0])
    pieces = []
    for expert in range(experts):
        module = expert_module(matrix.name, expert)
        before = 0 if matrix.transposed else expert * fused.shape[1]
        first = before + matrix.first_row
        pieces.append(Piece(index, module, fused, first, rows, matrix.transposed, expert))
    return pieces


def _tensor(tensors: dict[str, TensorInfo], name: str, shape: tuple[int, ...]) -> TensorInfo:
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != shape:
        _refuse(name)
    return tensor


def _refuse(name: str) -> NoReturn:
    raise UsageError(
        f"The plan does not belong to this model: tensor {name} differs.", "Make the plan again."
    )


def _source_start(item: Piece | TensorInfo) -> int:
    return item.start if isinstance(item, TensorInfo) else item.source_start


def _cut(items: list[Piece | TensorInfo], part_bytes: int) -> list[list[Piece | TensorInfo]]:
    parts: list[list[Piece | TensorInfo]] = [[]]
    held = 0
    for item in items:
        size = item_source_bytes(item)
        if parts[-1] and held + size > part_bytes:
            parts.append([])
            held = 0
        parts[-1].append(item)
        held += size
    return parts


def _part_name(index: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{index + 1:05d}-of-{count:05d}.safetensors"
