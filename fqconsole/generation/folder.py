"""A model's folder as it lies on disk: its config and its safetensors tensors, read one at a time straight to
a device.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

import kernels
from fqconsole.errors import OperatorError
from quantizer.scheme import BITS, words_per_row

PACKED, SCALE, SHAPE = ".weight_packed", ".weight_scale", ".weight_shape"
PICKLES = ("*.bin", "*.pt", "*.pth")


@dataclass(frozen=True)
class StoredMatrix:
    """The header of one packed matrix `[N, K]`; `group_size` None = channel."""

    name: str  # without the ending: "model.layers.0.mlp.down_proj"
    shape: tuple[int, int]
    bits: int
    group_size: int | None


class ModelFolder:
    """The tensors of a checkpoint folder. Opening reads headers only; `read` maps or copies one tensor to the
    device.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        """Raises OperatorError: no config, no safetensors, a missing or damaged shard, an unknown
        quantization.
        """
        self.path = path
        self.config: dict[str, Any] = _read_config(path)
        self._device = device
        self._files: dict[str, Any] = {}  # tensor name -> open safetensors file
        for file in _shards(path):
            handle = _open_shard(file, device)
            for name in handle.keys():  # noqa: SIM118 (not a dict)
                self._files[name] = handle
        self.quantized = _is_quantized(path, self.config)
        self.matrices: dict[str, StoredMatrix] = {}
        if self.quantized:
            self.matrices = {m.name: m for m in self._stored_matrices()}
        parts = {matrix + part for matrix in self.matrices for part in (PACKED, SCALE, SHAPE)}
        self.plain = [name for name in self._files if name not in parts]

    def tensor_bytes(self, name: str) -> int:
        """Size of one stored tensor, from its header."""
        piece = self._files[name].get_slice(name)
        return int(math.prod(piece.get_shape())) * _ITEM_BYTES.get(piece.get_dtype(), 1)

    def matrix_bytes(self, name: str) -> int:
        """Size of codes and scales of one packed matrix, from the headers."""
        return self.tensor_bytes(name + PACKED) + self.tensor_bytes(name + SCALE)

    def read(self, name: str) -> Tensor:
        """One tensor on the device, as stored. Raises OperatorError when the file lost it meanwhile."""
        try:
            tensor: Tensor = self._files[name].get_tensor(name)
        except (SafetensorError, OSError, KeyError) as error:
            raise OperatorError(
                f"The tensor {name} of {self.path} can't be read: {error}",
                "Fetch or quantize the model again.",
            ) from error
        return tensor

    def read_matrix(self, name: str) -> kernels.PackedMatrix:
        """One packed matrix on the device: codes int32 `[N, W]`, scales `[N, G]`."""
        stored = self.matrices[name]
        return kernels.PackedMatrix(
            codes=self.read(name + PACKED),
            scales=self.read(name + SCALE),
            bits=stored.bits,
            group_size=stored.group_size,
            k=stored.shape[1],
        )

    def _stored_matrices(self) -> Iterator[StoredMatrix]:
        names = [n.removesuffix(PACKED) for n in self._files if n.endswith(PACKED)]
        if not names:
            raise OperatorError(
                f"{self.path} says that it is quantized, but it holds no packed matrix.",
                "Quantize the model again.",
            )
        for name in names:
            for part in (SCALE, SHAPE):
                if name + part not in self._files:
                    raise OperatorError(
                        f"The tensor {name + part} is missing in {self.path}.", "Quantize the model again."
                    )
            packed = self._files[name + PACKED].get_slice(name + PACKED).get_shape()
            scale = self._files[name + SCALE].get_slice(name + SCALE).get_shape()
            # The shape tensor is 16 bytes and needed on the host.
            n, k = (int(size) for size in self._files[name + SHAPE].get_tensor(name + SHAPE).tolist())
            yield StoredMatrix(name, (n, k), *self._scheme(name, (n, k), tuple(packed), tuple(scale)))

    def _scheme(
        self, name: str, shape: tuple[int, int], packed: tuple[int, ...], scale: tuple[int, ...]
    ) -> tuple[int, int | None]:
        """Bits and group size as the stored shapes tell them: whatever config.json says, these are what is
        there.
        """
        n, k = shape
        groups = scale[-1]
        fitting = [bits for bits in BITS if packed == (n, words_per_row(k, bits))]
        if scale != (n, groups) or groups < 1 or k % groups or not fitting:
            raise OperatorError(
                f"The matrix {name} of {self.path} has codes {list(packed)} and scales {list(scale)}, "
                f"which is no int8, int4 or int3 form of a {n} x {k} matrix.",
                "Quantize the model again.",
            )
        return fitting[0], None if groups == 1 else k // groups


_ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "BF16": 2, "F16": 2, "I16": 2, "U16": 2,
}  # fmt: skip


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    try:
        config = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise OperatorError(
            f"There is no model in {path}: config.json is missing.", "Name a model's folder."
        ) from error
    except (OSError, ValueError) as error:
        raise OperatorError(f"{file} can't be read: {error}", "Fetch the model again.") from error
    if not isinstance(config, dict):
        raise OperatorError(f"{file} holds no JSON object.", "Fetch the model again.")
    return config


def _shards(path: Path) -> list[Path]:
    index = path / "model.safetensors.index.json"
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OperatorError(f"{index} can't be read.", "Fetch the model again.") from error
        missing = [name for name in names if not (path / name).is_file()]
        if missing:
            raise OperatorError(f"The shard {missing[0]} of {path} is missing.", "Fetch the model again.")
        return [path / name for name in names]
    files = sorted(path.glob("*.safetensors"))
    if files:
        return files
    if any(found for pattern in PICKLES for found in path.glob(pattern)):
        raise OperatorError(
            f"{path} holds its weights as pickle files only, which can run code when opened.",
            "Convert the model to safetensors first.",
        )
    raise OperatorError(f"There are no safetensors weights in {path}.", "Fetch the model again.")


def _open_shard(file: Path, device: torch.device) -> Any:
    try:
        return safe_open(file, framework="pt", device=str(device))
    except (SafetensorError, OSError) as error:
        raise OperatorError(
            f"{file} is damaged or cut off: {error}", "Fetch or quantize the model again."
        ) from error


def _is_quantized(path: Path, config: dict[str, Any]) -> bool:
    """Raises OperatorError for a quantization that these kernels don't read."""
    quantization = config.get("quantization_config")
    if not quantization:
        return False
    method = quantization.get("quant_method")
    form = quantization.get("format")
    if method != "compressed-tensors" or form != "pack-quantized":
        word = f"{method} ({form})" if form else str(method)
        raise OperatorError(
            f"{path} is quantized with {word}, which fqconsole doesn't read.",
            "Quantize the 16-bit model with fqconsole.",
        )
    for group in (quantization.get("config_groups") or {}).values():
        weights = group.get("weights") or {}
        if (
            weights.get("symmetric") is False
            or group.get("input_activations")
            or weights.get("type", "int") != "int"
        ):
            raise OperatorError(
                f"{path} is quantized with zero points, floating codes or quantized activations, "
                "which fqconsole doesn't read.",
                "Quantize the 16-bit model with fqconsole.",
            )
    return True
