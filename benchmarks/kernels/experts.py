"""Mixture-of-experts products, timed: ours against 16-bit grouped products and transformers' whole block."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

import kernels
from benchmarks.kernels.layers import EXPERT_BATCHES, Experts, Scheme
from benchmarks.kernels.measure import clone_of
from benchmarks.kernels.points import OURS, ExpertPoint
from benchmarks.kernels.routing import Routing, random_routings, stacks_needed
from benchmarks.kernels.weights import random_rows, random_weights, relative_error
from benchmarks.kernels.work import Work

DTYPE = torch.bfloat16  # grouped_mm takes no other
GROUPED = "grouped_mm"  # rows sorted by expert beforehand: the product alone
SORTED = (GROUPED, "humming")  # whose rows stay sorted
GROUPED_KIND = "grouped_contiguous"  # Humming's word for rows sorted by expert
QUANTIZED = (OURS, "humming")
BLOCK_TOLERANCE = 3e-2  # of a block: three roundings to bfloat16 each side
TOLERANCE = 1e-2
MOST_BATCHED_BYTES = 4 << 30  # batched_mm copies the weights of every row
SECONDS = 3.0

Calls = list[Callable[[], Tensor]]


@dataclass(frozen=True)
class Stack:
    """One expert stack [E, N, K]: prepared, and in 16 bits."""

    prepared: Any
    dense: Tensor


class Stacks:
    """Copies of one model's two expert stacks, 16-bit and quantized from the same codes."""

    def __init__(self, model: Experts, scheme: Scheme, device: str) -> None:
        self.model = model
        self.scheme = scheme
        smallest = min(self.expert_bytes(name) for name in model.shapes)
        self.count = max(2, stacks_needed(model.experts * smallest))
        self.weights = {
            name: random_weights(n, k, scheme, DTYPE, device, experts=model.experts)
            for name, (n, k) in model.shapes.items()
        }
        self.of: dict[str, list[Stack]] = {}
        for name, weights in self.weights.items():
            packed, dense = weights.packed(), weights.dequantize(DTYPE)
            self.of[name] = [
                Stack(kernels.prepare(clone_of(packed), device, DTYPE), dense.clone())
                for _ in range(self.count)
            ]

    def expert_bytes(self, name: str) -> int:
        """Packed bytes of one expert."""
        return self.scheme.packed_bytes(*self.model.shapes[name])

    def touched(self, routings: Sequence[Routing], expert_bytes: int) -> int:
        """Packed bytes that one call reads, on average."""
        return sum(routing.touched for routing in routings) * expert_bytes // len(routings)


@dataclass(frozen=True)
class Batch:
    """The rows of one call, sorted by expert too, and the stack that they meet."""

    stack: int
    expert: Tensor  # [T]
    order: Tensor  # sorts rows by expert
    ends: Tensor  # [E]: the row after each expert's last, int32
    sorted_rows: Tensor


def batch_of(routing: Routing, x: Tensor, experts: int) -> Batch:
    """`routing` on x's device."""
    expert = torch.tensor(routing.flat, dtype=torch.int64, device=x.device)
    ids, order = torch.sort(expert, stable=True)
    ends = torch.searchsorted(ids, torch.arange(1, experts + 1, device=x.device)).to(torch.int32)
    return Batch(routing.stack, expert, order, ends, x[order].contiguous())


def batched_fits(model: Experts, batch: int, name: str) -> bool:
    """Whether a copy of every row's expert is small enough to be made."""
    n, k = model.shapes[name]
    return 2 * batch * model.top_k * n * k <= MOST_BATCHED_BYTES


def grouped_mm(x: Tensor, stack: Tensor, ends: Tensor) -> Tensor:
    """Rows sorted by expert times `stack` [E, N, K], as transformers calls it."""
    return torch.nn.functional.grouped_mm(x, stack.transpose(-2, -1), offs=ends)


def batched_mm(x: Tensor, stack: Tensor, expert: Tensor) -> Tensor:
    """Each row times a copy of its expert's matrix: transformers' way in decoding."""
    return torch.bmm(stack[expert], x.unsqueeze(-1)).squeeze(-1)


def sort_and_group(x: Tensor, stack: Tensor, expert: Tensor) -> Tensor:
    """The same from rows in any order and back: what transformers does round its products, once a block."""
    ids, order = torch.sort(expert)
    counts = torch.histc(
        ids.int() if ids.is_cuda else ids.float(), bins=stack.shape[0], min=0, max=stack.shape[0] - 1
    )
    out = grouped_mm(x[order], stack, torch.cumsum(counts, 0, dtype=torch.int32))
    back = torch.empty_like(order)
    back[order] = torch.arange(order.shape[0], device=order.device)
    return out[back]


class Setting:
    """One of the two matrices at one batch: the rows of every call, and the right result of the first."""

    def __init__(self, stacks: Stacks, name: str, batch: int, device: str) -> None:
        self.stacks, self.name, self.batch = stacks, name, batch
        model = stacks.model
        routings = random_routings(model, batch, stacks.count, stacks.expert_bytes(name))
        self.x = random_rows(batch * model.top_k, model.shapes[name][1], DTYPE, device)
        self.batches = [batch_of(routing, self.x, model.experts) for routing in routings]
        self.touched = stacks.touched(routings, stacks.expert_bytes(name))
        first = self.batches[0]
        self.expected = sort_and_group(self.x, stacks.of[name][first.stack].dense, first.expert)

    def products(self) -> dict[str, Calls]:
        """Ours and torch's, by who."""
        x, of = self.x, self.stacks.of[self.name]
        met = [(of[b.stack], b) for b in self.batches]
        found: dict[str, Calls] = {
            OURS: [partial(kernels.expert_linear, x, stack.prepared, b.expert) for stack, b in met],
            GROUPED: [partial(grouped_mm, b.sorted_rows, stack.dense, b.ends) for stack, b in met],
            f"{GROUPED} + sort": [partial(sort_and_group, x, stack.dense, b.expert) for stack, b in met],
        }
        if batched_fits(self.stacks.model, self.batch, self.name):
            found["batched_mm"] = [partial(batched_mm, x, stack.dense, b.expert) for stack, b in met]
        return found


def time_products(work: Work, setting: Setting, products: dict[str, Calls]) -> None:
    """Check each, then time it."""
    model, name, first = setting.stacks.model.label, setting.name, setting.batches[0]
    for who, calls in products.items():
        what = f"{who} experts {model} {name} batch {setting.batch}"
        expected = setting.expected[first.order] if who in SORTED else setting.expected
        try:
            error = relative_error(calls[0](), expected)
            if not error <= TOLERANCE:
                work.note(f"{what} is {'WRONG' if who == OURS else 'left out'}: relative error {error:.1e}")
                if who != OURS:
                    continue
            taken = work.time(calls)
        except Exception as problem:  # noqa: BLE001 — the others are still worth measuring
            work.failed(what, problem)
            continue
        scheme = setting.stacks.scheme.label if who in QUANTIZED else ""
        work.record.experts.append(
            ExpertPoint(who, model, name, scheme, setting.batch, taken, setting.touched)
        )


def humming_calls(humming: Any, layer: Any, setting: Setting) -> Calls:
    """Humming's grouped product of rows sorted by expert, with a layer that it transformed, and copies."""
    first = (layer.weight.detach(), layer.weight_scale.detach())
    held = [first, *(tuple(tensor.clone() for tensor in first) for _ in range(setting.stacks.count - 1))]
    calls: Calls = []
    for batch in setting.batches:
        weight, scale = held[batch.stack]
        # The first row of each expert, and the number of rows.
        layout = torch.cat((batch.ends.new_zeros(1), batch.ends)).long()
        calls.append(
            partial(
                humming.forward, layer.humming_config, inputs=batch.sorted_rows, weight=weight,
                weight_scale=scale, locks=layer.locks, expert_layout=layout,
                compute_config={"gemm_type": GROUPED_KIND},
                tuning_config=humming.tuning(layer, batch.sorted_rows.shape[0], GROUPED_KIND),
            )
        )  # fmt: skip
    return calls


def our_block(gate_up: Any, down: Any, x: Tensor, chosen: Tensor, share: Tensor) -> Tensor:
    """The whole block from our products: x [T, hidden], `chosen` and `share` [T, top_k] → [T, hidden]."""
    hidden = kernels.expert_linear(x, gate_up, chosen, activation="silu")
    out = kernels.expert_linear(hidden, down, chosen.reshape(-1))
    return (out * share.reshape(-1, 1)).view(*chosen.shape, -1).sum(1).to(x.dtype)


def transformers_blocks() -> dict[str, Callable[..., Tensor]]:
    """transformers' own expert forwards, by name."""
    from transformers.integrations import moe

    return {
        "transformers grouped_mm": moe.grouped_mm_experts_forward,
        "transformers batched_mm": moe.batched_mm_experts_forward,
    }


def module_of(model: Experts, gate_up: Tensor, down: Tensor) -> Any:
    """What transformers' forwards ask of an experts module."""
    return SimpleNamespace(
        num_experts=model.experts,
        gate_up_proj=gate_up,
        down_proj=down,
        has_gate=True,
        has_bias=False,
        is_transposed=False,
        is_concatenated=True,
        has_post_expert_norm=False,
        _is_expert_parallel=False,
        act_fn=silu,
        _apply_gate=lambda both: silu(both.chunk(2, -1)[0]) * both.chunk(2, -1)[1],
    )


def measure_block(work: Work, stacks: Stacks, batch: int) -> None:
    """The whole block, routing weights included, ours and transformers'."""
    model = stacks.model
    both = sum(stacks.expert_bytes(name) for name in model.shapes)
    routings = random_routings(model, batch, stacks.count, both)
    x = random_rows(batch, model.hidden, DTYPE, work.device)
    share = torch.full((batch, model.top_k), 1 / model.top_k, dtype=DTYPE, device=work.device)
    chosen = [torch.tensor(r.choices, dtype=torch.int64, device=work.device) for r in routings]
    pairs = list(zip(stacks.of["gate_up"], stacks.of["down"], strict=True))
    modules = [module_of(model, gate_up.dense, down.dense) for gate_up, down in pairs]
    met = list(zip((routing.stack for routing in routings), chosen, strict=True))
    # transformers' come first: ours is compared with them.
    products: dict[str, Calls] = {
        who: [partial(forward, modules[s], x, c, share) for s, c in met]
        for who, forward in transformers_blocks().items()
        if "batched" not in who or batched_fits(model, batch, "gate_up")
    }
    products[OURS] = [
        partial(our_block, pairs[s][0].prepared, pairs[s][1].prepared, x, c, share) for s, c in met
    ]
    touched = stacks.touched(routings, both)
    reference = None
    for who, calls in products.items():
        what = f"{who} block {model.label} batch {batch}"
        try:
            out = calls[0]()
            reference = out if reference is None else reference
            error = relative_error(out, reference)
            if not error <= BLOCK_TOLERANCE:
                work.note(f"{what} differs from the first: relative error {error:.1e}")
            taken = work.time(calls)
        except Exception as problem:  # noqa: BLE001 — the others are still worth measuring
            work.failed(what, problem)
            continue
        scheme = stacks.scheme.label if who == OURS else ""
        work.record.experts.append(ExpertPoint(who, model.label, "block", scheme, batch, taken, touched))


def measure_experts(work: Work, model: Experts, scheme: Scheme) -> None:
    """Ours, torch's and transformers' at every batch."""
    what = f"experts {model.label} {scheme.label}"
    if not work.budget.allows(what, seconds=SECONDS):
        return
    stacks = Stacks(model, scheme, work.device)
    for batch in EXPERT_BATCHES:
        for name in model.shapes:
            if work.budget.allows(f"{what} {name} batch {batch}"):
                setting = Setting(stacks, name, batch, work.device)
                time_products(work, setting, setting.products())
        if work.budget.allows(f"{what} block batch {batch}"):
            measure_block(work, stacks, batch)


def measure_humming_experts(work: Work, model: Experts, scheme: Scheme, humming: Any) -> None:
    """The peer that has quantized experts too."""
    what = f"{humming.name} experts {model.label} {scheme.label}"
    if not work.budget.allows(what, seconds=SECONDS):
        return
    stacks = Stacks(model, scheme, work.device)
    for name in model.shapes:
        layer = humming.transformed(stacks.weights[name])
        for batch in EXPERT_BATCHES:
            if work.budget.allows(f"{what} {name} batch {batch}"):
                setting = Setting(stacks, name, batch, work.device)
                time_products(work, setting, {humming.name: humming_calls(humming, layer, setting)})
