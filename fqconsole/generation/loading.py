"""A checkpoint folder becomes a model on the device: packed matrices as they lie, everything else in 16 bits.

Order: build the model on meta, find each tensor's place, put packed modules where matrices are quantized,
then fill every place tensor by tensor. No 16-bit form of a quantized matrix is ever made, and nothing is left
to chance: a place without a tensor, or a tensor of another shape, is an error that names it.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import kernels
from fqconsole.collector import uncollected
from fqconsole.errors import OperatorError, UsageError
from fqconsole.generation import modules, skeleton
from fqconsole.generation.assembly import assemble
from fqconsole.generation.decoder import Decoder
from fqconsole.generation.device import compute_dtype, dtype_word, work_dtype
from fqconsole.generation.folder import ModelFolder, open_folder
from fqconsole.generation.joining import join_rows, sets_to_join
from fqconsole.generation.key_names import KeyMap, convert, expert_positions, map_keys
from fqconsole.generation.modules import PackedExperts, PackedLinear, PackedRows, gate_of, linear_form
from fqconsole.generation.parallel.shard import Shard
from fqconsole.generation.skeleton import build_skeleton, compute_buffers, fp32_names, read_config
from fqconsole.models.families import family_of
from fqconsole.stages import Stages
from kernels import PackedMatrix, PreparedMatrix

QUANTIZE_AGAIN = "Quantize the model again."
FETCH_AGAIN = "Fetch the model again."
BytesProgress = Callable[[float, float], None]


@dataclass(frozen=True)
class LoadedModel:
    """A model with every parameter and buffer on its device; `precision` is "int4", ... or "bf16", ...

    `decoder` computes the same in our own forward; None where the model's family is not known to it.
    """

    model: Any
    decoder: Decoder | None
    config: Any
    dtype: torch.dtype
    precision: str
    path: str  # the matmul that most matrices take, in the kernels' word; "16-bit"
    weights_bytes: int


def load_model(
    path: Path,
    device: torch.device,
    on_progress: BytesProgress | None = None,
    shard: Shard | None = None,
    stages: Stages | None = None,
) -> LoadedModel:
    """Load the quantized or 16-bit model in `path` onto `device`, or the part of it that `shard` says.

    `on_progress(done, total)` is told stored bytes, `stages` what the time goes to. Raises OperatorError
    naming the file, tensor or architecture that stands in the way; torch.OutOfMemoryError when the device is
    too small.
    """
    stages = stages or Stages()
    with open_folder(path) as folder:
        stages.ended("open files")
        with uncollected():
            config = read_config(path)
            stored = skeleton.stored_dtype(config)
            dtype = compute_dtype(stored, device)
            model = build_skeleton(config, dtype)
            compute_buffers(model, device)
        stages.ended("model class")
        _Filler(folder, model, device, dtype, on_progress, shard, stages).fill()
        widths = Counter(matrix.scheme.bits for matrix in folder.matrices.values())
    paths = Counter(matrix.path for matrix in modules.prepared_of(model))
    bits = widths.most_common(1)[0][0] if widths else None
    decoder = assemble(model, dtype, device)
    if shard is not None:
        if decoder is None:
            raise UsageError(
                f"A {config.model_type} model of this kind runs through transformers' forward, on one GPU.",
                "Leave --gpus out.",
            )
        decoder = shard.finish(decoder)
    stages.ended("assemble")
    return LoadedModel(
        model=model,
        decoder=decoder,
        config=config,
        dtype=dtype,
        precision=f"int{bits}" if bits else dtype_word(stored),
        path=paths.most_common(1)[0][0] if paths else "16-bit",
        weights_bytes=_held_bytes(model),
    )


class _Filler:
    """Fills the places of one model from one folder."""

    def __init__(  # noqa: PLR0917 - load_model alone calls it
        self,
        folder: ModelFolder,
        model: Any,
        device: torch.device,
        dtype: torch.dtype,
        on_progress: BytesProgress | None,
        shard: Shard | None,
        stages: Stages,
    ) -> None:
        self.folder = folder
        self.stages = stages
        self.model = model
        self.device = device
        self.shard = shard
        # A part is cut out on the host: the device never holds the whole.
        self.reading = device if shard is None else torch.device("cpu")
        self.dtype = dtype
        self.work_dtype = work_dtype(dtype, device)
        self.again = QUANTIZE_AGAIN if folder.quantized else FETCH_AGAIN
        self.fp32 = [re.compile(pattern.replace("*", ".*")) for pattern in fp32_names(model, dtype)]
        family = family_of(model.config)
        self.joined = () if family is None else family.joined
        self.held_whole = () if family is None else family.held_whole
        self.on_progress = on_progress
        self.total = folder.bytes
        self.done = 0
        # The name that each packed module would have in 16 bits: transformers' rules speak of those.
        self.packed = {
            module + ".weight": matrix for matrix in folder.matrices.values() for module in matrix.modules
        }

    def fill(self) -> None:
        keys = map_keys(self.model, [*self.folder.kept, *self.packed])
        self._refuse_strangers(keys)
        if self.shard is not None:
            keys = self.shard.take(self.model, keys, self.packed)
        sets = sets_to_join(self.model, keys.direct, self.packed, self.joined)
        for places in sets:
            self._fill_joined([(place, keys.direct[place]) for place in places])
        apart = set(keys.direct).difference(*sets)
        for place, name in keys.direct.items():
            if name in self.packed and place in apart:
                self._fill_linear(place, name)
        experts: dict[str, dict[str, list[tuple[str, str]]]] = {}
        for place, parts in keys.fused.items():
            packed = [name in self.packed for name, _ in parts]
            if all(packed) and not place.endswith(".weight"):
                parent, _, leaf = place.rpartition(".")
                experts.setdefault(parent, {})[leaf] = parts
            elif any(packed) and not all(packed):
                raise OperatorError(
                    f"Only some of the matrices that make up {place} are quantized.",
                    "Quantize the model again.",
                )
            else:
                self._fill_fused(place, parts, keys)
        for parent, leaves in experts.items():
            self._fill_experts(parent, leaves, keys)
        for place, name in keys.direct.items():
            if name not in self.packed:
                self._put(place, self._read(name))
        self._tie_and_check()
        self.stages.ended("find places")

    def _fill_fused(self, place: str, parts: list[tuple[str, str]], keys: KeyMap) -> None:
        """A parameter made of several tensors, in 16 bits: what is packed is dequantized."""
        read = [
            (name, self._dequantized(name) if name in self.packed else self._read(name), pattern)
            for name, pattern in parts
        ]
        for target, tensor in convert(self.model, place, read, keys.rules).items():
            self._put(target, tensor)

    def _refuse_strangers(self, keys: KeyMap) -> None:
        """A packed matrix without a place means another model; other tensors (old buffers) are left out."""
        lost = [name for name in keys.strangers if name in self.packed]
        if lost:
            raise OperatorError(
                f"The matrix {lost[0]} has no place in a "
                f"{self.model.config.model_type} model as transformers builds it.",
                "Check that config.json belongs to these weights.",
            )

    def _fill_joined(self, parts: list[tuple[str, str]]) -> None:
        """`parts`: (place, tensor name), in the order of the joined rows."""
        matrices = []
        for place, name in parts:
            matrix = self._matrix(name)
            old = self.model.get_submodule(place.removesuffix(".weight"))
            self._check_shape(name, (matrix.n, matrix.k), tuple(old.weight.shape))
            matrices.append(matrix)
        joined = join_rows(matrices)
        if len(joined) > 1:  # scales of several dtypes: not of our making
            for (place, _), matrix in zip(parts, matrices, strict=True):
                self._put_linear(place.removesuffix(".weight"), matrix)
            return
        first = self.model.get_submodule(parts[0][0].removesuffix(".weight"))
        whole = PackedLinear(
            self._prepare(joined[0]), None, self.work_dtype, dtype=first.weight.dtype, device=self.device
        )
        start = 0
        for (place, _), matrix in zip(parts, matrices, strict=True):
            module_name = place.removesuffix(".weight")
            bias = self.model.get_submodule(module_name).bias
            self.model.set_submodule(module_name, PackedRows(whole, start, matrix.n, bias))
            start += matrix.n

    def _fill_linear(self, place: str, name: str) -> None:
        module_name = place.removesuffix(".weight")
        old = self.model.get_submodule(module_name)
        form = linear_form(old) if place.endswith(".weight") else None
        if module_name.rpartition(".")[2] in self.held_whole:
            form = None
        if form is None:  # the model's own code multiplies with it in another way
            self._put(place, self._dequantized(name))
            return
        matrix = self._matrix(name)
        stored = (matrix.n, matrix.k) if form == "linear" else (matrix.k, matrix.n)
        self._check_shape(name, stored, tuple(old.weight.shape))
        self._put_linear(module_name, matrix)

    def _put_linear(self, module_name: str, matrix: PackedMatrix) -> None:
        old = self.model.get_submodule(module_name)
        packed = PackedLinear(
            self._prepare(matrix), old.bias, self.work_dtype, dtype=old.weight.dtype, device=self.device
        )
        self.model.set_submodule(module_name, packed)

    def _matrix(self, name: str, *, whole: bool = False) -> PackedMatrix:
        """One matrix, or the one expert that this transformers wants as a matrix of its own.

        Of a shard its part, unless `whole`.
        """
        self.stages.ended("find places")
        stored = self.packed[name]
        rows = None if self.shard is None or whole or len(stored.shape) > 2 else self.shard.rows(name)
        if rows is not None:
            matrix = stored.load_rows(rows)
            self._told(matrix.bytes)
            return matrix.to(self.device)
        if len(stored.shape) == 2:
            matrix = stored.load(self.reading)
        else:
            matrix = stored.load_expert(stored.modules.index(name.removesuffix(".weight")), self.reading)
        self._told(matrix.bytes)
        if self.shard is None or whole:
            return matrix
        return self.shard.matrix(name, matrix).to(self.device)

    def _dequantized(self, name: str) -> Tensor:
        return self._matrix(name, whole=True).dequantize(self.dtype)

    def _fill_experts(self, parent: str, leaves: dict[str, list[tuple[str, str]]], keys: KeyMap) -> None:
        old = self.model.get_submodule(parent)
        found = {leaf: expert_positions(leaf, parts, keys.rules) for leaf, parts in leaves.items()}
        rising, falling = found.get("gate_up_proj") or found.get("up_proj"), found.get("down_proj")
        gate = gate_of(old)
        joined = rising is not None and (len(rising) == 1 or getattr(old, "is_concatenated", True))
        if rising is None or falling is None or len(falling) != 1 or gate is None or not joined:
            if not all(pattern in keys.rules for parts in leaves.values() for _, pattern in parts):
                raise OperatorError(
                    f"The experts of {parent} ({type(old).__name__}) have a form that the packed "
                    "kernels don't know yet.",
                    "Use this model in 16 bits.",
                )
            for leaf, parts in leaves.items():
                self._fill_fused(f"{parent}.{leaf}", parts, keys)
            return
        gate_up = [self._stack(names, old.num_experts, parent) for names in rising]
        down = self._stack(falling[0], old.num_experts, parent)
        rows = sum(stack.n for stack in gate_up)
        self._check_experts(
            old, parent, "gate_up_proj" if "gate_up_proj" in leaves else "up_proj", rows, gate_up[0].k
        )
        self._check_experts(old, parent, "down_proj", down.n, down.k)
        packed = PackedExperts(
            tuple(self._prepare(stack) for stack in join_rows(gate_up)),
            self._prepare(down),
            gate,
            self.work_dtype,
            experts=old.num_experts,
            gate_up_proj_bias=getattr(old, "gate_up_proj_bias", None),
            down_proj_bias=getattr(old, "down_proj_bias", None),
        )
        self.model.set_submodule(parent, packed)

    def _check_experts(self, old: nn.Module, parent: str, leaf: str, n: int, k: int) -> None:
        """The parameter is `[E, N, K]`, or `[E, K, N]` in models that multiply from the other side."""
        expected = tuple(getattr(old, leaf).shape[1:])
        self._check_shape(f"{parent}.{leaf}", (k, n) if expected == (k, n) else (n, k), expected)

    def _prepare(self, matrix: PackedMatrix) -> PreparedMatrix:
        self.stages.ended("find places")
        prepared = kernels.prepare(matrix, dtype=self.work_dtype)
        self.stages.ended("prepare")
        return prepared

    def _stack(self, names: list[str], experts: int, parent: str) -> PackedMatrix:
        """One stack `[E, ...]` as it lies in the folder, which must hold these experts in this order."""
        if len(names) != experts:
            raise OperatorError(f"{parent} has {experts} experts, but {len(names)} are stored.", self.again)
        stored = self.packed[names[0]]
        if [module + ".weight" for module in stored.modules] != names:
            raise OperatorError(f"The experts of {parent} are not stored as one set.", QUANTIZE_AGAIN)
        self.stages.ended("find places")
        stack = stored.load(self.reading)
        self._told(stack.bytes)
        return stack if self.shard is None else self.shard.matrix(names[0], stack).to(self.device)

    def _read(self, name: str) -> Tensor:
        stored = self.folder.kept[name]
        self.stages.ended("find places")
        tensor = stored.load(self.reading)
        self._told(stored.bytes)
        return tensor

    def _told(self, count: int) -> None:
        self.stages.ended("read")
        self.done += count
        if self.on_progress is not None:
            self.on_progress(self.done, self.total)

    def _put(self, place: str, tensor: Tensor) -> None:
        """Set the parameter or buffer `place`, in the dtype the model wants there."""
        parent, _, leaf = place.rpartition(".")
        module = self.model.get_submodule(parent)
        empty = module._parameters.get(leaf)
        held: Tensor | None = module._buffers.get(leaf) if empty is None else empty
        if held is None:
            return  # a place that a packed module has no use for
        if self.shard is not None:
            tensor = self.shard.tensor(place, tensor).to(self.device)
        self._check_shape(place, tuple(tensor.shape), tuple(held.shape))
        if tensor.is_floating_point() and held.is_floating_point():
            wanted = torch.float32 if any(p.search(place) for p in self.fp32) else held.dtype
            tensor = tensor.to(wanted)
        if empty is None:
            module._buffers[leaf] = tensor
        else:
            module._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)

    def _check_shape(self, name: str, stored: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if stored != expected:
            raise OperatorError(
                f"The tensor {name} has shape {list(stored)}, but the config asks for {list(expected)}.",
                self.again,
            )

    def _share_packed(self) -> None:
        """Layers that are one layer under several names (Zamba's) get the one that was packed."""
        tied = self.model.all_tied_weights_keys
        for target, source in list(tied.items()):
            place, _, leaf = source.rpartition(".")
            shared = self.model.get_submodule(place)
            if leaf == "weight" and isinstance(shared, PackedLinear):
                self.model.set_submodule(target.removesuffix(".weight"), shared)
                del tied[target]

    def _tie_and_check(self) -> None:
        self._share_packed()
        empty = {name for name, tensor in self.model.state_dict(keep_vars=True).items() if tensor.is_meta}
        self.model.tie_weights(missing_keys=set(empty), recompute_mapping=False)
        missing = [
            name
            for name, tensor in _all_tensors(self.model)
            if tensor.is_meta and (self.shard is None or self.shard.holds(name))
        ]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise OperatorError(
                f"The tensor {missing[0]}{more} is missing in {self.folder.path}; a model is never run with "
                "made-up weights.",
                self.again,
            )


def _all_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _held_bytes(model: nn.Module) -> int:
    """Bytes of every parameter, buffer, code and scale, tied ones once; of what a checkpoint stores."""
    computed = {name for name, _ in model.named_non_persistent_buffers()}  # type: ignore[operator]
    held = {
        id(tensor): tensor
        for name, tensor in _all_tensors(model)
        if not tensor.is_meta and name not in computed
    }
    return sum(tensor.nbytes for tensor in held.values()) + sum(
        matrix.bytes for matrix in modules.prepared_of(model)
    )
