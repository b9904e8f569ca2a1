"""A model of any config on a device, with random weights, quantized as a plan says, without a download."""

from collections import defaultdict
from typing import Any

import torch
from torch import nn

import kernels
from fqconsole.fit.parts import RISING
from fqconsole.generation.device import compute_dtype, work_dtype
from fqconsole.generation.modules import PackedExperts, PackedLinear, PackedRows, gate_of
from fqconsole.generation.skeleton import build_skeleton, compute_buffers
from fqconsole.jobs.tasks.describe import plain, tensors_of
from fqconsole.models.bare_config import ClassShapes, describe_bare
from fqconsole.models.config import Config
from fqconsole.models.description import ModelDescription
from fqconsole.models.families import family_of
from quantizer import base_plan
from quantizer.plan import Plan
from quantizer.scheme import Scheme, words_per_row

STD = 0.02


def model_of(config: Any) -> tuple[ModelDescription, Any]:
    """What the preview is told of a transformers config, and the model on meta."""
    model = build_skeleton(config, config.dtype or torch.bfloat16)
    full = {**plain(config.to_dict()), "architectures": [type(model).__name__]}
    return describe_bare(Config(full, "random.json"), ClassShapes(full, tensors_of(model))), model


def fill(
    model: Any, description: ModelDescription, bits: int, device: torch.device, *, head: int = 16
) -> int:
    """Give `model` weights on `device`, its matrices in `bits` (16: as they are), its output head in `head`.

    Returns the bytes held.
    """
    dtype = compute_dtype(next(model.parameters()).dtype, device)
    model.to(dtype)
    compute_buffers(model, device)
    if bits != 16:
        _pack(model, base_plan(description, bits, head=head), dtype, device)
    model.tie_weights()  # `to` has made two of one
    for name, parameter in list(model.named_parameters()):
        parent, _, leaf = name.rpartition(".")
        value = torch.empty(parameter.shape, dtype=dtype, device=device)
        if name.endswith("bias"):
            # Random codes are half a step below zero on average: with biases of 1 on top the residual of a
            # model as deep as OPT-175B leaves float16.
            value.zero_()
        elif parameter.dim() == 1:
            value.fill_(1.0)
        else:
            value.normal_(std=STD)
        setattr(model.get_submodule(parent), leaf, nn.Parameter(value, requires_grad=False))
    model.tie_weights()
    held = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    for module in model.modules():
        if isinstance(module, PackedLinear):
            held += module.matrix.bytes
        elif isinstance(module, PackedExperts):
            held += sum(stack.bytes for stack in (*module.rising, module.falling))
    return held


def _pack(model: Any, plan: Plan, dtype: torch.dtype, device: torch.device) -> None:
    work = work_dtype(dtype, device)  # as the loader does
    experts: dict[str, list[Any]] = defaultdict(list)
    singles: dict[str, Any] = {}
    for matrix in plan.matrices:
        if len(matrix.shape) == 3:
            experts[matrix.name.rpartition(".")[0]].append(matrix)
            continue
        singles[matrix.name] = matrix
    for names in _joined(model, singles):
        parts = [singles[name] for name in names]
        rows = sum(part.shape[0] for part in parts)
        whole = _prepared((rows, parts[0].shape[1]), parts[0].scheme, work, device)
        biases = [model.get_submodule(name).bias for name in names]
        joined = PackedLinear(whole, biases[0] if len(names) == 1 else None, work, dtype=dtype, device=device)
        start = 0
        for name, part, bias in zip(names, parts, biases, strict=True):
            alone = len(names) == 1
            model.set_submodule(name, joined if alone else PackedRows(joined, start, part.shape[0], bias))
            start += part.shape[0]
    for place, stacks in experts.items():
        old = model.get_submodule(place)
        gate = gate_of(old)
        if gate is None:
            raise ValueError(f"the experts of {place} have a form of their own")
        rising = [stack for stack in stacks if stack.name.rpartition(".")[2] in RISING]
        (falling,) = (stack for stack in stacks if stack not in rising)
        count, _, k = rising[0].shape
        joined = (count, sum(stack.shape[1] for stack in rising), k)
        model.set_submodule(
            place,
            PackedExperts(
                (_prepared(joined, rising[0].scheme, work, device),),
                _prepared(falling.shape, falling.scheme, work, device),
                gate,
                work,
                experts=count,
            ),
        )


def _joined(model: Any, singles: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every matrix once: with those that it becomes one product with, as the loader joins them, or alone."""
    family = family_of(model.config)
    leaves = {names[0]: names for names in (() if family is None else family.joined)}
    found: list[tuple[str, ...]] = []
    taken: set[str] = set()
    for name in singles:
        parent, _, leaf = name.rpartition(".")
        names = tuple(f"{parent}.{other}" for other in leaves.get(leaf, (leaf,)))
        together = all(other in singles for other in names)
        schemes = {singles[other].scheme for other in names} if together else set()
        if len(schemes) != 1:
            names = (name,)
        if name not in taken:
            found.append(names)
            taken.update(names)
    return found


def _prepared(
    shape: tuple[int, ...], scheme: Scheme, dtype: torch.dtype, device: torch.device
) -> kernels.PreparedMatrix:
    """Random bits are random codes; the scale gives weights of about the usual size."""
    *rows, k = shape
    words = words_per_row(k, scheme.bits)
    codes = torch.randint(-(2**31), 2**31, (*rows, words), dtype=torch.int32, device=device)
    # Codes are uniform over 2^bits values, so their standard deviation is 2^bits / sqrt(12).
    scale = STD * 12**0.5 / 2**scheme.bits
    scales = torch.full((*rows, scheme.groups(k)), scale, dtype=dtype, device=device)
    packed = kernels.PackedMatrix(codes, scales, scheme.bits, scheme.group_size, k)
    return kernels.prepare(packed, dtype=dtype)
