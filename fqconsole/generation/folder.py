"""A model's folder as it lies on disk, packed or in 16 bits: one tensor at a time, straight to a device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import torch
from torch import Tensor

from fqconsole.models.description import TensorInfo
from fqconsole.models.weight_files import read_tensors
from quantizer.config import read_config
from quantizer.reader import StoredMatrix, open_checkpoint
from quantizer.source import TensorFile
from quantizer.upload import Upload


class StoredTensor(Protocol):
    """A tensor that lies on disk as it is."""

    @property
    def bytes(self) -> int:
        """As stored."""

    def load(self, device: torch.device | str) -> Tensor:
        """The tensor on `device`, in its stored dtype."""


@dataclass(frozen=True)
class ModelFolder:
    """An open folder; a context manager. `matrices` are the packed ones (none in a 16-bit model)."""

    path: Path
    quantized: bool
    matrices: Mapping[str, StoredMatrix]
    kept: Mapping[str, StoredTensor]
    close: Callable[[], None]

    @property
    def bytes(self) -> int:
        """All that will be read."""
        parts: list[StoredMatrix | StoredTensor] = [*self.matrices.values(), *self.kept.values()]
        return sum(part.bytes for part in parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_folder(path: Path) -> ModelFolder:
    """Open the model in `path`; reads headers and config.json only.

    Raises OperatorError: no config, no safetensors, a missing or damaged shard, a quantization that is not
    symmetric integer `pack-quantized`.
    """
    if read_config(path).get("quantization_config"):
        checkpoint = open_checkpoint(path)
        return ModelFolder(path, True, checkpoint.matrices, checkpoint.kept, checkpoint.close)
    files = _PlainFiles(path)
    kept = {info.name: _PlainTensor(info, files) for info in read_tensors(path)}
    return ModelFolder(path, False, {}, kept, files.close)


class _PlainFiles:
    """The safetensors files of a 16-bit model, opened when first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, TensorFile] = {}
        self.upload = Upload()

    def file(self, name: str) -> TensorFile:
        if name not in self._open:
            self._open[name] = TensorFile(self._folder / name)
        return self._open[name]

    def close(self) -> None:
        self.upload.close()
        for opened in self._open.values():
            opened.close()
        self._open.clear()


class _PlainTensor:
    def __init__(self, info: TensorInfo, files: _PlainFiles) -> None:
        self.bytes = info.bytes
        self._info = info
        self._files = files

    def load(self, device: torch.device | str) -> Tensor:
        return self._files.upload.load(self._files.file(self._info.file), self._info, device)
