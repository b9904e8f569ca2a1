"""Linears and experts whose parameters are a checkpoint's packed tensors; they multiply on the fused kernels.

transformers fills the parameters, moves them and saves them. Before the first product they are brought into
the form that their device multiplies with; on a GPU that form then takes the parameters' place, and the
checkpoint's form is made again where someone asks for it (`state_dict`, `.to`).
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

import kernels
from fqconsole.errors import OperatorError
from fqconsole.generation.device import work_dtype
from fqconsole.generation.modules import PackedExperts, PackedLinear
from kernels import PackedMatrix, PreparedMatrix
from kernels.gpu import TritonMatrix
from kernels.prepared import DequantizedMatrix
from quantizer.scheme import Scheme, words_per_row

PARTS = ("packed", "scale", "shape")


@dataclass(frozen=True)
class MatrixForm:
    """What is stored of a matrix `[N, K]` or a stack `[E, N, K]`."""

    shape: tuple[int, ...]
    scheme: Scheme
    scale_dtype: torch.dtype

    @property
    def rows(self) -> tuple[int, ...]:
        return self.shape[:-1]

    @property
    def k(self) -> int:
        return self.shape[-1]


class PackedModule(nn.Module):
    """Packed matrices as parameters `<name>_packed`, `<name>_scale` and `<name>_shape`."""

    _hf_quantized_needs_local_tp = True

    def __init__(self, forms: Mapping[str, MatrixForm], dtype: torch.dtype) -> None:
        super().__init__()
        self.forms = dict(forms)
        self.dtype = dtype
        self._ready: list[nn.Module] = []  # in a list, so that torch does not count it among the sub-modules
        self._prepared: dict[tuple[str, ...], PreparedMatrix] = {}
        for name, form in self.forms.items():
            words = words_per_row(form.k, form.scheme.bits)
            stacked = form.shape[:-2]
            tensors = (
                torch.empty(*form.rows, words, dtype=torch.int32),
                torch.empty(*form.rows, form.scheme.groups(form.k), dtype=form.scale_dtype),
                torch.empty(*stacked, 2, dtype=torch.int64),
            )
            for part, tensor in zip(PARTS, tensors, strict=True):
                self.register_parameter(f"{name}_{part}", nn.Parameter(tensor, requires_grad=False))

    @abstractmethod
    def build(self, form: Callable[[Sequence[str]], PreparedMatrix]) -> nn.Module:
        """The module that multiplies; `form` makes the matrix of several names, rows one below the other."""

    def prepare(self) -> None:
        """Bring the weights into the form that their device multiplies with."""
        if not self._ready:
            self._ready = [self.build(self._prepare)]

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the module it stands for."""
        if self._offloaded():  # the weights are here for this call alone
            out: Tensor = self.build(lambda names: DequantizedMatrix(self.packed(names)))(*inputs)
            return out
        self.prepare()
        multiplied: Tensor = self._ready[0](*inputs)
        return multiplied

    def packed(self, names: Sequence[str]) -> PackedMatrix:
        """The matrices of `names` as the checkpoint stores them, joined along their rows.

        Raises OperatorError for weights that are split over several devices.
        """
        form = self.forms[names[0]]
        codes, scales = ([getattr(self, f"{name}_{part}") for name in names] for part in PARTS[:2])
        if type(codes[0].data) is not Tensor:
            raise OperatorError(
                "Packed weights can't be split over several GPUs by tensor parallelism here.",
                'Use device_map="auto", or serve the checkpoint with an engine that splits it.',
            )
        return PackedMatrix(
            codes=codes[0].data if len(codes) == 1 else torch.cat([part.data for part in codes], dim=-2),
            scales=scales[0].data if len(scales) == 1 else torch.cat([part.data for part in scales], dim=-2),
            bits=form.scheme.bits,
            group_size=form.scheme.group_size,
            k=form.k,
        )

    def device_of(self, name: str) -> torch.device:
        """Where the weights of `name` lie."""
        scale: Tensor = getattr(self, f"{name}_scale")
        return scale.device

    def _prepare(self, names: Sequence[str]) -> PreparedMatrix:
        packed = self.packed(names)
        prepared = kernels.prepare(packed, dtype=work_dtype(self.dtype, packed.device))
        if isinstance(prepared, TritonMatrix):
            lanes = (prepared.lanes.words, prepared.lanes.scales)
            for part, held in zip(PARTS, lanes, strict=False):
                for index, name in enumerate(names):
                    parameter = getattr(self, f"{name}_{part}")
                    parameter.data = held if not index else held.new_empty(0)
            self._prepared[tuple(names)] = prepared
        return prepared

    def _stored(self) -> dict[str, Tensor]:
        """The parameters whose place a GPU's form has taken, as the checkpoint stores them."""
        stored: dict[str, Tensor] = {}
        for names, prepared in self._prepared.items():
            if isinstance(prepared, TritonMatrix):
                packed = prepared.dequantized().packed
                rows = [self.forms[name].shape[-2] for name in names]
                for part, whole in zip(PARTS, (packed.codes, packed.scales), strict=False):
                    pieces = whole.split(rows, dim=-2)
                    stored |= {
                        f"{n}_{part}": piece.contiguous() for n, piece in zip(names, pieces, strict=True)
                    }
        return stored

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`.to`, `.cuda`, …: the checkpoint's form moves, and is prepared again where it comes to lie."""
        for name, tensor in self._stored().items():
            getattr(self, name).data = tensor
        self._ready, self._prepared = [], {}
        super()._apply(fn, recurse)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update({prefix + name: tensor for name, tensor in self._stored().items()})

    def _offloaded(self) -> bool:
        """Whether accelerate brings the weights only for each call (device_map with "cpu" or "disk")."""
        hook = getattr(self, "_hf_hook", None)
        return any(getattr(each, "offload", False) for each in getattr(hook, "hooks", (hook,)))

    def extra_repr(self) -> str:
        return ", ".join(
            f"{name}: {list(form.shape)} int{form.scheme.bits} {form.scheme.group_word}"
            for name, form in self.forms.items()
        )


class TransformersLinear(PackedModule):
    """y = x Wᵀ + b; stands where an `nn.Linear` or a Conv1D stood."""

    def __init__(self, form: MatrixForm, bias: nn.Parameter | None, dtype: torch.dtype) -> None:
        super().__init__({"weight": form}, dtype)
        self.out_features, self.in_features = form.shape
        self.bias = None if bias is None else nn.Parameter(torch.empty_like(bias), requires_grad=False)

    def build(self, form: Callable[[Sequence[str]], PreparedMatrix]) -> nn.Module:
        device = self.device_of("weight")
        return PackedLinear(
            form(["weight"]), self.bias, work_dtype(self.dtype, device), dtype=self.dtype, device=device
        )

    @property
    def weight(self) -> Tensor:
        """W `[N, K]` in 16 bits, for the few models whose own code reads it."""
        self.prepare()
        weight = cast("PackedLinear", self._ready[0]).weight
        weight._is_hf_initialized = True  # type: ignore[attr-defined] # some models' own start values go in here
        return weight


class TransformersExperts(PackedModule):
    """The routed experts of a layer; stands where the fused experts stood. See `PackedExperts`.

    `rising` names the matrices of the first product (gate and up, or both in one), `falling` the second's.
    """

    def __init__(
        self,
        forms: Mapping[str, MatrixForm],
        *,
        rising: Sequence[str],
        falling: str,
        old: Any,
        apply_gate: Callable[[Tensor], Tensor],
        dtype: torch.dtype,
    ) -> None:
        super().__init__(forms, dtype)
        self.rising = tuple(rising)
        self.falling = falling
        self.apply_gate = apply_gate
        self.num_experts = forms[falling].shape[0]
        for name in ("gate_up_proj_bias", "down_proj_bias"):
            bias = getattr(old, name, None)
            kept = None if bias is None else nn.Parameter(torch.empty_like(bias), requires_grad=False)
            self.register_parameter(name, kept)

    def build(self, form: Callable[[Sequence[str]], PreparedMatrix]) -> nn.Module:
        alike = len({(self.forms[name].scheme, self.forms[name].k) for name in self.rising}) == 1
        sets = [self.rising] if alike else [(name,) for name in self.rising]
        return PackedExperts(
            tuple(form(names) for names in sets),
            form((self.falling,)),
            self.apply_gate,
            work_dtype(self.dtype, self.device_of(self.falling)),
            experts=self.num_experts,
            gate_up_proj_bias=self._parameters["gate_up_proj_bias"],
            down_proj_bias=self._parameters["down_proj_bias"],
        )
