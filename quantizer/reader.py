"""Open a quantized checkpoint without loading it: its tensors are read one by one, to any device.

Bits and group size are taken from the shapes, which can't lie about how the codes are to be read;
config.json and the manifest are checked against them. A checkpoint by another program opens too when it is
`pack-quantized` with symmetric integer weights.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from fqconsole.errors import OperatorError
from fqconsole.models.description import TensorInfo
from fqconsole.models.weight_files import read_tensors
from kernels.packed_matrix import PackedMatrix
from quantizer.config import FORMAT, METHOD, read_config
from quantizer.manifest import Manifest, read_manifest
from quantizer.scheme import BITS, Scheme, words_per_row
from quantizer.source import TensorFile
from quantizer.upload import Upload

PACKED, SCALE, SHAPE = ".weight_packed", ".weight_scale", ".weight_shape"
REFUSED = {".weight_zero_point": "zero points", ".weight_g_idx": "reordered columns"}
SCALE_DTYPES = ("BF16", "F16", "F32")

_EXPERT = re.compile(r"^(?P<place>(?:.*\.)?experts)\.(?P<index>\d+)\.(?P<kind>.+)$")


class StoredMatrix:
    """One matrix `[N, K]`, or one layer's stack of experts `[E, N, K]`, that lies packed on disk."""

    def __init__(
        self, name: str, modules: Sequence[str], shape: tuple[int, ...], scheme: Scheme, files: "_Files"
    ) -> None:
        self.name = name
        self.modules = tuple(modules)  # one name, or one per expert
        self.shape = shape
        self.scheme = scheme
        self._files = files

    @property
    def bytes(self) -> int:
        """Codes and scales as stored."""
        return sum(
            self._files.infos[module + end].bytes for module in self.modules for end in (PACKED, SCALE)
        )

    def load(self, device: torch.device | str = "cpu") -> PackedMatrix:
        """Codes int32 `[N, W]` or `[E, N, W]` and scales on `device`; a stack is filled expert by expert."""
        if len(self.shape) == 2:
            codes = self._files.load(self.name + PACKED, device)
            scales = self._files.load(self.name + SCALE, device)
        else:
            codes = self._stack(PACKED, device)
            scales = self._stack(SCALE, device)
        return PackedMatrix(codes, scales, self.scheme.bits, self.scheme.group_size, self.shape[-1])

    def load_rows(self, ranges: Sequence[tuple[int, int]]) -> PackedMatrix:
        """Rows start to stop of each range of a matrix `[N, K]`, on the CPU; nothing else is read."""
        codes, scales = (self._files.load_rows(self.name + end, ranges) for end in (PACKED, SCALE))
        return PackedMatrix(codes, scales, self.scheme.bits, self.scheme.group_size, self.shape[-1])

    def load_expert(self, expert: int, device: torch.device | str = "cpu") -> PackedMatrix:
        """One expert of a stack."""
        module = self.modules[expert]
        codes = self._files.load(module + PACKED, device)
        scales = self._files.load(module + SCALE, device)
        return PackedMatrix(codes, scales, self.scheme.bits, self.scheme.group_size, self.shape[-1])

    def load_scales(self, expert: int = 0) -> Tensor:
        """The scales `[N, G]` of the matrix, or of one expert of a stack, without its codes."""
        return self._files.load(self.modules[expert] + SCALE, "cpu")

    def _stack(self, end: str, device: torch.device | str) -> Tensor:
        first = self._files.load(self.modules[0] + end, device)
        stack = first.new_empty((len(self.modules), *first.shape))
        stack[0] = first
        for expert in range(1, len(self.modules)):
            stack[expert] = self._files.load(self.modules[expert] + end, device)
        return stack


class KeptInCheckpoint:
    """A tensor that lies in the checkpoint as it is."""

    def __init__(self, info: TensorInfo, files: "_Files") -> None:
        self.name = info.name
        self.shape = info.shape
        self.dtype = info.dtype  # safetensors' word
        self.bytes = info.bytes
        self._files = files

    def load(self, device: torch.device | str = "cpu") -> Tensor:
        """The tensor on `device`, in its stored dtype."""
        return self._files.load(self.name, device)


class Checkpoint:
    """An open checkpoint; a context manager. `matrices` and `kept` are by name, in the order of the files."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        manifest: Manifest | None,
        *,
        matrices: Mapping[str, StoredMatrix],
        kept: Mapping[str, KeptInCheckpoint],
        files: "_Files",
    ) -> None:
        self.folder = folder
        self.config = config
        self.manifest = manifest  # None when another program wrote the checkpoint
        self.matrices = matrices
        self.kept = kept
        self._files = files

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._files.close()

    def dequantized(self, dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of the whole 16-bit model, one by one, experts singly: `….experts.3.up_proj.weight`.

        Matrices come in `dtype`, by default that of their scales; kept tensors as stored.
        """
        for matrix in self.matrices.values():
            for expert, module in enumerate(matrix.modules):
                packed = matrix.load() if len(matrix.shape) == 2 else matrix.load_expert(expert)
                yield f"{module}.weight", packed.dequantize(dtype or packed.scales.dtype)
        for name, kept in self.kept.items():
            yield name, kept.load()


class _Files:
    """The checkpoint's safetensors files, opened when first needed."""

    def __init__(self, folder: Path, infos: Mapping[str, TensorInfo]) -> None:
        self._folder = folder
        self.infos = infos
        self._open: dict[str, TensorFile] = {}
        self._upload = Upload()

    def load(self, name: str, device: torch.device | str) -> Tensor:
        info = self.infos[name]
        return self._upload.load(self._file(info), info, device)

    def load_rows(self, name: str, ranges: Sequence[tuple[int, int]]) -> Tensor:
        info = self.infos[name]
        file = self._file(info)
        return torch.cat([file.rows(info, start, stop - start) for start, stop in ranges])

    def _file(self, info: TensorInfo) -> TensorFile:
        if info.file not in self._open:
            self._open[info.file] = TensorFile(self._folder / info.file)
        return self._open[info.file]

    def close(self) -> None:
        self._upload.close()
        for opened in self._open.values():
            opened.close()
        self._open.clear()


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open the quantized checkpoint in `folder`; reads headers, config.json and the manifest only.

    Raises OperatorError when it is damaged, not quantized, or quantized in a way that is not symmetric
    integer `pack-quantized`.
    """
    folder = Path(folder)
    config = read_config(folder)
    widths = _stored_widths(folder, config)
    infos = {info.name: info for info in read_tensors(folder)}
    manifest = read_manifest(folder)
    files = _Files(folder, infos)
    try:
        matrices = _matrices(folder, infos, files, widths)
        _check_manifest(folder, manifest, matrices)
    except BaseException:
        files.close()
        raise
    packed = {
        m + end for matrix in matrices.values() for m in matrix.modules for end in (PACKED, SCALE, SHAPE)
    }
    kept = {name: KeptInCheckpoint(info, files) for name, info in infos.items() if name not in packed}
    return Checkpoint(folder, config, manifest, matrices=matrices, kept=kept, files=files)


def _stored_widths(folder: Path, config: Mapping[str, Any]) -> tuple[int, ...]:
    """The bits that config.json speaks of, after checking that this is a container we read."""
    stored = config.get("quantization_config")
    if not isinstance(stored, dict):
        _refuse(folder, "is not quantized")
    if stored.get("quant_method") != METHOD or stored.get("format") != FORMAT:
        _refuse(folder, f"is quantized as {stored.get('quant_method')} {stored.get('format') or ''}".rstrip())
    groups = stored.get("config_groups")
    bits = set()
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") or {}
        bits.add(weights.get("num_bits"))
        if weights.get("type") != "int" or not weights.get("symmetric") or group.get("input_activations"):
            _refuse(folder, "has weights that are not symmetric integers alone")
    return tuple(width for width in BITS if width in bits)


def _matrices(
    folder: Path, infos: Mapping[str, TensorInfo], files: _Files, bits: Sequence[int]
) -> dict[str, StoredMatrix]:
    members: dict[str, dict[int, str]] = defaultdict(dict)
    for name in infos:
        for end, word in REFUSED.items():
            if name.endswith(end):
                _refuse(folder, f"has {word} ({name})")
        if name.endswith(PACKED):
            module = name.removesuffix(PACKED)
            expert = _EXPERT.match(module)
            stack = f"{expert['place']}.{expert['kind']}" if expert else module
            members[stack][int(expert["index"]) if expert else 0] = module
    matrices = {}
    for name, modules in members.items():
        stacked = _EXPERT.match(next(iter(modules.values()))) is not None
        names = [modules[index] for index in sorted(modules)]
        if stacked and sorted(modules) != list(range(len(modules))):
            _refuse(folder, f"lacks experts of {name}")
        found = {_stored_scheme(folder, module, infos, files, bits) for module in names}
        if len(found) > 1:
            _refuse(folder, f"has experts of different schemes in {name}")
        n, k, scheme = found.pop()
        shape = (len(names), n, k) if stacked else (n, k)
        matrices[name] = StoredMatrix(name, names, shape, scheme, files)
    if not matrices:
        _refuse(folder, "holds no packed matrix")
    return matrices


def _stored_scheme(
    folder: Path, module: str, infos: Mapping[str, TensorInfo], files: _Files, bits: Sequence[int]
) -> tuple[int, int, Scheme]:
    """(N, K, scheme) of one matrix, from the shapes of its three tensors."""
    packed, scale, stored = (infos.get(module + end) for end in (PACKED, SCALE, SHAPE))
    if packed is None or scale is None or stored is None:
        _refuse(folder, f"lacks a part of {module}")
    n, k = (int(size) for size in files.load(module + SHAPE, "cpu").reshape(-1)[-2:])
    widths = [width for width in bits if packed.shape == (n, words_per_row(k, width))]
    if packed.dtype != "I32" or not widths:
        _refuse(folder, f"holds {module} in an unknown packing")
    groups = scale.shape[-1] if scale.shape else 0
    if scale.dtype not in SCALE_DTYPES or scale.shape != (n, groups) or not groups or k % groups:
        _refuse(folder, f"holds scales of {module} that don't divide its rows")
    return n, k, Scheme(widths[0], None if groups == 1 else k // groups)


def _check_manifest(folder: Path, manifest: Manifest | None, matrices: Mapping[str, StoredMatrix]) -> None:
    """The manifest's plan and sizes against what lies there."""
    if manifest is None:
        return
    for planned in manifest.plan.matrices:
        stored = matrices.get(planned.name)
        groups = planned.scheme.groups(planned.shape[-1])
        if (
            stored is None
            or stored.shape != planned.shape
            or stored.scheme.bits != planned.scheme.bits
            or stored.scheme.groups(stored.shape[-1]) != groups
        ):
            _refuse(folder, f"does not hold {planned.name} as its manifest says")
    for shard in manifest.shards:
        if (folder / shard.file).stat().st_size != shard.bytes:
            _refuse(folder, f"has {shard.file} in another size than its manifest says")


def _refuse(folder: Path, what: str) -> NoReturn:
    raise OperatorError(f"{folder} {what}.", "Quantize the model again, or choose another checkpoint.")
