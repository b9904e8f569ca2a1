"""What a plan's channel sets mean for the weights: factors for columns and rows, importance, rewritten 16-bit
tensors.

A channel of a balanced norm is divided by 2^(e/8), the result stored in the norm's own dtype, and the columns
of the readers are multiplied by what the norm was really divided by: rounding the norm changes nothing in the
product. Matrices are scaled in float32 on their way to being rounded, so that theirs is exact too. Other
tensors that stay in 16 bits are rounded once: biases, and routers, whose factors are whole powers of two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fqconsole.models.description import ModelDescription, TensorInfo
from quantizer.plan import ChannelSet, Plan
from quantizer.source import Bytes, TensorFile, as_bytes, torch_dtype

OCTAVE = 8  # codes per doubling: a factor is within 4.4 % of what was wished for
MOVED = 64  # matrices whose columns stay on a device: of each file under way a few
FLOOR = 1e-4  # of the mean importance: a channel that a norm shuts off still gets a scale that holds it


@dataclass(frozen=True)
class Columns:
    """How the weights `[N, K]` of one matrix are prepared for rounding; None is 1 throughout."""

    factors: Tensor | None = None  # float32 [K]: on the columns
    rows: Tensor | None = None  # float32 [N]: on the rows
    importance: Tensor | None = None  # float32 [K]: weights of the squared errors, of the prepared columns

    def prepared(self, rows: Tensor, first: int) -> Tensor:
        """float32 `[n, K]` of rows `first` to `first + n` of any float dtype; new memory unless float32 and
        plain.
        """
        wide = rows.float()
        if self.factors is not None:
            wide = wide * self.factors
        if self.rows is not None:
            wide = wide * self.rows[first : first + rows.shape[0]].unsqueeze(-1)
        return wide.contiguous()

    def to(self, device: torch.device) -> "Columns":
        """The same on another device."""
        if self is PLAIN:
            return self
        moved = (None if t is None else t.to(device) for t in (self.factors, self.rows, self.importance))
        return Columns(*moved)


PLAIN = Columns()


class Channels:
    """The channel sets of one plan, resolved; what is held is a few numbers a channel."""

    def __init__(self, folder: Path, description: ModelDescription, plan: Plan) -> None:
        """Reads the norms that the plan names. Raises OperatorError where they can't be read."""
        tensors = {tensor.name: tensor for tensor in description.tensors}
        self._columns: dict[str, Columns] = {}
        self._moved = lru_cache(MOVED)(self._move)
        self._norms: dict[str, Bytes] = {}
        self._multipliers: dict[str, tuple[TensorInfo, Tensor]] = {}
        rows: dict[str, Tensor] = {}
        for held in plan.channels:
            if held.of_rows:
                magnitudes, factors = decoded(held.magnitudes), decoded(held.factors)
            else:
                weight = read_vector(folder, tensors[held.producer])
                magnitudes = (weight.float() + held.offset).abs()
                factors, norm = absorbed(weight, held)
                if held.factors:
                    self._norms[held.producer] = as_bytes(norm)
            if held.factors and held.of_rows:
                rows[held.producer] = 1 / factors
                if held.bias is not None:
                    self._multipliers[held.bias] = tensors[held.bias], 1 / factors
            for name in held.kept_readers if held.factors else ():
                self._multipliers[name] = tensors[name], factors
            columns = Columns(
                factors=spread(factors, held) if held.factors else None,
                importance=search_importance(magnitudes, factors, held) if plan.methods.importance else None,
            )
            self._columns |= dict.fromkeys(held.readers, columns)
        for name, multiplier in rows.items():
            read = self._columns.get(name, PLAIN)
            self._columns[name] = Columns(read.factors, multiplier, read.importance)

    def columns(self, matrix: str) -> Columns:
        """Of a matrix, or of every expert of a stack, by its name in the plan."""
        return self._columns.get(matrix, PLAIN)

    def columns_on(self, matrix: str, device: torch.device) -> Columns:
        """`columns` on a device; those of the last few matrices stay there for their next rows."""
        return self._moved(matrix, device)

    def _move(self, matrix: str, device: torch.device) -> Columns:
        return self.columns(matrix).to(device)

    def rewrite(self, name: str, data: Bytes, first: int) -> Bytes:
        """Bytes of a kept tensor from byte `first`, as they are to be written; most stay as they are."""
        if name in self._norms:
            return self._norms[name][first : first + len(data)]
        if name not in self._multipliers:
            return data
        tensor, multiplier = self._multipliers[name]
        values = torch.from_numpy(np.ascontiguousarray(data)).view(torch_dtype(tensor))
        place = torch.arange(len(values)) + first // values.element_size()
        return as_bytes((values.float() * multiplier[place % len(multiplier)]).to(values.dtype))


def absorbed(weight: Tensor, held: ChannelSet) -> tuple[Tensor, Tensor]:
    """What the readers' columns of a norm are multiplied by, float32 `[K]`, and the norm's new weight."""
    gain = weight.float() + held.offset
    if not held.factors:
        return torch.ones_like(gain), weight
    norm = (gain / decoded(held.factors) - held.offset).to(weight.dtype)
    left = norm.float() + held.offset
    possible = (left != 0) & (gain != 0) & torch.isfinite(left)
    return torch.where(possible, gain / left, torch.ones_like(gain)), torch.where(possible, norm, weight)


def decoded(codes: bytes) -> Tensor:
    """float32 `[K]` of int8 codes; 1 for no codes."""
    if not codes:
        return torch.ones(1)
    return torch.exp2(torch.from_numpy(np.frombuffer(codes, dtype=np.int8).astype(np.float32)) / OCTAVE)


def encoded(values: Tensor, step: int = 1) -> bytes:
    """int8 codes of positive numbers `[K]`, in whole octaves for `step` = 8."""
    codes = torch.round(torch.log2(values.double().cpu()) * OCTAVE / step) * step
    limit = 127 // step * step
    return codes.clamp_(-limit, limit).to(torch.int8).numpy().tobytes()


def spread(channels: Tensor, held: ChannelSet) -> Tensor:
    """Numbers of the producer's channels laid out as the readers' columns: value heads repeat for their
    queries.
    """
    if held.repeat == 1 or channels.numel() == 1:
        return channels
    return channels.view(-1, 1, held.head).expand(-1, held.repeat, -1).reshape(-1)


def importance_of(magnitudes: Tensor) -> Tensor:
    """Weights of squared errors, mean 1, from the magnitudes of the channels."""
    squares = magnitudes.double().square()
    return (squares / squares.mean().clamp_min(1e-300)).clamp_min(FLOOR).float()


def search_importance(magnitudes: Tensor, factors: Tensor, held: ChannelSet) -> Tensor | None:
    """Weights of the squared errors of the readers' columns for the search; None for channels of rows.

    What lies between v_proj and o_proj, or up_proj and down_proj, makes some channels large on few tokens
    alone. Weighting by them lowers the mean squared error of the output and raises the KL divergence.
    """
    return None if held.of_rows else importance_of(spread(magnitudes / factors, held))


def read_vector(folder: Path, tensor: TensorInfo) -> Tensor:
    """A small tensor on the CPU, in its own dtype."""
    with TensorFile(folder / tensor.file) as file:
        return file.tensor(tensor)


def changed_tensors(plan: Plan) -> Mapping[str, str]:
    """The kept tensors that a plan writes changed, each with the producer of its channels."""
    changed: dict[str, str] = {}
    for held in plan.channels:
        if held.factors:
            names = (*held.kept_readers, *([held.bias] if held.bias else []))
            names += () if held.of_rows else (held.producer,)
            changed |= dict.fromkeys(names, held.producer)
    return changed
