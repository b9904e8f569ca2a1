"""A model in float32 whose matrices went through a quantizer: the same way to be judged for all of them.

float32 keeps what a quantizer made of the weights apart from the rounding of a 16-bit forward pass, which at
8 bits is the larger of the two.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fqconsole.models.description import ModelDescription, TensorInfo
from fqconsole.models.weight_files import INDEX
from quantizer.parts import Piece, plan_parts
from quantizer.plan import Plan
from quantizer.reader import Checkpoint
from quantizer.source import TensorFile

# A piece and its weights `[rows, K]` as stored → the weights to compute with, float32 `[rows, K]`.
Remake = Callable[[Piece, Tensor], Tensor]
# A tensor that is not quantized, as stored → as the model shall have it.
Keep = Callable[[TensorInfo, Tensor], Tensor]


def write_model(
    description: ModelDescription,
    plan: Plan,
    out: Path,
    remake: Remake,
    keep: Keep = lambda _, tensor: tensor,
) -> Path:
    """Write the described model to `out` in float32, its matrices remade one by one; one file of the source
    is in memory at a time, in float32.
    """
    out.mkdir(parents=True)
    source = _folder(description)
    for file in source.iterdir():
        if file.is_file() and file.suffix in (".json", ".model", ".txt", ".jinja") and file.name != INDEX:
            shutil.copyfile(file, out / file.name)
    config = json.loads((source / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(_in_float32(config)))
    items: dict[str, list[Piece | TensorInfo]] = defaultdict(list)
    for part in plan_parts(description, plan):
        items[part.source_file] += part.items
    for name, held in items.items():
        with TensorFile(source / name) as opened:
            save_file(_remade(opened, held, remake, keep), out / name, metadata={"format": "pt"})
    if len(items) > 1 or next(iter(items)) != "model.safetensors":
        weight_map = {tensor.name: tensor.file for tensor in description.tensors}
        (out / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return out


def write_ours(description: ModelDescription, plan: Plan, checkpoint: Checkpoint, out: Path) -> Path:
    """Our checkpoint as such a model: codes times scales, and what balancing changed of the kept tensors."""
    stacks = {
        module: (matrix, index)
        for matrix in checkpoint.matrices.values()
        for index, module in enumerate(matrix.modules)
    }

    def remake(piece: Piece, _: Tensor) -> Tensor:
        matrix, index = stacks[piece.module]
        packed = matrix.load() if len(matrix.shape) == 2 else matrix.load_expert(index)
        return packed.dequantize(torch.float32)

    return write_model(description, plan, out, remake, lambda info, _: checkpoint.kept[info.name].load())


def _folder(description: ModelDescription) -> Path:
    if description.path is None:
        raise SystemExit(f"{description.id} is not on this machine")
    return Path(description.path)


def _remade(
    opened: TensorFile, items: list[Piece | TensorInfo], remake: Remake, keep: Keep
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for item in items:
        if isinstance(item, TensorInfo):
            kept = keep(item, opened.tensor(item))
            tensors[item.name] = kept.float() if kept.is_floating_point() else kept
            continue
        if item.tensor.name not in tensors:
            tensors[item.tensor.name] = torch.empty(item.tensor.shape)
        weights = remake(item, opened.piece_rows(item, 0, item.rows))
        place_piece(tensors[item.tensor.name], item, weights)
    return tensors


def place_piece(tensor: Tensor, piece: Piece, weights: Tensor) -> None:
    """Put `weights` `[rows, K]` where `piece` lies in its source tensor."""
    if piece.transposed:
        block = tensor.reshape(-1, *tensor.shape[-2:])[piece.expert]
        block[:, piece.first_row : piece.first_row + piece.rows] = weights.t()
    else:
        tensor.reshape(-1, piece.k)[piece.first_row : piece.first_row + piece.rows] = weights


def _in_float32(config: dict[str, Any]) -> dict[str, Any]:
    """The config with every dtype in it float32, in whatever nesting."""
    words = {"dtype", "torch_dtype"}
    return {
        key: _in_float32(value) if isinstance(value, dict) else "float32" if key in words else value
        for key, value in config.items()
    }
