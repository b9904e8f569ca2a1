"""A model's folder being written: tensor by tensor, in files of a few GiB, the config last."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from quantizer.config import CONFIG, INDEX, companion_files

SHARD_BYTES = 2 << 30  # held in memory while a file is filled


def write_folder(
    place: Path, source: Path, tensors: Iterable[tuple[str, Tensor]], config: dict[str, Any]
) -> None:
    """Write `tensors` (each with memory of its own), `config` and the companions of `source` to `place`."""
    place.mkdir()
    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}

    def flush() -> None:
        if held:
            save_file(held, place / f"{len(shards):05d}.safetensors", metadata={"format": "pt"})
            shards.append(list(held))
            held.clear()

    for name, tensor in tensors:
        if held and sum(each.nbytes for each in held.values()) + tensor.nbytes > SHARD_BYTES:
            flush()
        held[name] = tensor.contiguous()
    flush()
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards):
        last = len(shards)
        file = "model.safetensors" if last == 1 else f"model-{number + 1:05d}-of-{last:05d}.safetensors"
        (place / f"{number:05d}.safetensors").rename(place / file)
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        _write_json(place / INDEX, {"metadata": {}, "weight_map": weight_map})
    for companion in companion_files(source):
        shutil.copyfile(companion, place / companion.name)
    _write_json(place / CONFIG, config)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
