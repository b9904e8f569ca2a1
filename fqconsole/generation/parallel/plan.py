"""How a model is cut for several GPUs: tensor parallel where its shapes divide, else whole layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from fqconsole.errors import UsageError
from fqconsole.generation.folder import open_folder
from fqconsole.generation.key_names import map_keys
from fqconsole.generation.parallel.shard import IndivisibleError, TensorShard
from fqconsole.generation.skeleton import build_skeleton, read_config
from fqconsole.models.division import share

Split = Literal["auto", "tensor", "layer"]
SPLITS = ("auto", "tensor", "layer")


def cuts_of(path: Path, count: int, split: str, cuts: Sequence[int] | None) -> tuple[int, ...] | None:
    """Where each GPU's layers end; None: tensor parallel. `cuts` are taken where layers are split.

    Raises UsageError for a split that is not known, and with "tensor" for a model that can't be cut so.
    """
    if split not in SPLITS:
        raise UsageError(f"There is no split {split!r}.", f"Use one of {', '.join(SPLITS)}.")
    config = read_config(path)
    if split != "layer":
        try:
            _try_tensor(path, count)
        except IndivisibleError:
            if split == "tensor":
                raise
        else:
            return None
    if cuts is not None:
        return tuple(cuts)
    layers = int(config.get_text_config().num_hidden_layers)
    return tuple(share(layers, rank, count)[1] for rank in range(count))


def _try_tensor(path: Path, count: int) -> None:
    """Cut the model on meta, for one rank: what stands in the way of any of them stands in the way of all."""
    with open_folder(path) as folder:
        packed = {
            module + ".weight": matrix for matrix in folder.matrices.values() for module in matrix.modules
        }
        model = build_skeleton(read_config(path), torch.bfloat16)
        TensorShard(0, count).take(model, map_keys(model, [*folder.kept, *packed]), packed)
