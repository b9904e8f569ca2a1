"""What one of several GPUs holds of a model: told to the loader by tensor, then put into its decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fqconsole.errors import UsageError
from fqconsole.generation.decoder import Decoder
from fqconsole.generation.key_names import KeyMap, expert_positions
from fqconsole.generation.mlp import Mlp
from fqconsole.generation.modules import linear_form
from fqconsole.generation.parallel.cutting import Cut, cut_packed, cut_tensor
from fqconsole.generation.parallel.exchange import (
    Beside,
    HeadOfLast,
    LastLayer,
    Summed,
    SummedExperts,
    fields_of,
    received_rows,
    summed_embedding,
)
from fqconsole.generation.parallel.link import Link
from fqconsole.generation.projections import Apart, Projection
from fqconsole.models.division import Widths, obstacle, share, unit_of
from fqconsole.models.families import Family, family_of
from kernels import PackedMatrix
from quantizer.reader import StoredMatrix


class IndivisibleError(UsageError):
    """This model's matrices can't be cut for so many GPUs."""

    def __init__(self, what: str) -> None:
        super().__init__(f"This model can't be cut for tensor parallelism: {what}.", "Use --split layer.")


class Shard(Protocol):
    """One rank's part of a model, in the order in which the loader asks."""

    def take(self, model: Any, keys: KeyMap, packed: Mapping[str, StoredMatrix]) -> KeyMap:
        """The tensors that this rank needs; `model` (on meta) gets the shapes of its parts."""

    def holds(self, place: str) -> bool:
        """Whether this rank has the parameter `place`."""

    def rows(self, name: str) -> tuple[tuple[int, int], ...] | None:
        """The rows of the packed matrix `name` that are all of this rank's part; None: it isn't rows."""

    def matrix(self, name: str, whole: PackedMatrix) -> PackedMatrix:
        """This rank's part of the packed matrix that is called `name` in the checkpoint."""

    def tensor(self, place: str, whole: Tensor) -> Tensor:
        """This rank's part of what goes to `place`."""

    def finish(self, decoder: Decoder) -> Decoder:
        """The decoder with the exchanges in it."""


@dataclass
class TensorShard:
    """Tensor parallelism: heads and inner features are shared out, the vocabulary too where it divides.

    q, k, v, gate and up are cut by rows; the matrices behind them by the same columns, at group boundaries
    (Megatron-LM, arXiv 1909.08053, section 3). Norms, routers and learned positions are on every rank.
    """

    rank: int
    count: int
    link: Link | None = None
    _cuts: dict[str, tuple[Cut, int]] = field(default_factory=dict)  # place → cut and its dimension
    _by_name: dict[str, Cut] = field(default_factory=dict)
    _once: set[str] = field(default_factory=set)  # biases of what is summed, added by the first rank
    _vocabulary: tuple[int, int] | None = None

    def take(self, model: Any, keys: KeyMap, packed: Mapping[str, StoredMatrix]) -> KeyMap:
        """As in `Shard`; raises IndivisibleError."""
        family = family_of(model.config)
        config = model.config.get_text_config()
        widths = widths_of(model, family, unit_of([matrix.scheme.group_size for matrix in packed.values()]))
        problem = obstacle(widths, self.count)
        if family is None or problem:
            raise IndivisibleError(problem)
        unit, kv_heads, dim = widths.unit, widths.kv_heads, widths.head_dim
        kv = share(kv_heads, self.rank, self.count)
        group = widths.heads // kv_heads
        for index, layer in enumerate(getattr(model.get_submodule(family.body), family.layers)):
            prefix = f"{family.body}.{family.layers}.{index}."
            self._cut_attention(model, family, prefix + family.attention, (group, dim, kv_heads, kv))
            feed = prefix + family.mlp if family.mlp else prefix[:-1]
            if family.mlp and hasattr(getattr(layer, family.mlp), "experts"):
                self._cut_experts(model, family, feed, unit, keys)
            else:
                self._cut_mlp(model, family, feed, unit)
        self._cut_vocabulary(model, config)
        self._shrink(model)
        config.head_dim = dim
        config.num_attention_heads = group * (kv[1] - kv[0])
        if getattr(config, "num_key_value_heads", None):
            config.num_key_value_heads = kv[1] - kv[0]
        self._by_name |= {name: self._cuts[p][0] for p, name in keys.direct.items() if p in self._cuts}
        return keys

    def holds(self, place: str) -> bool:
        """Of everything at least a part."""
        del place
        return True

    def rows(self, name: str) -> tuple[tuple[int, int], ...] | None:
        """As in `Shard`."""
        cut = self._by_name.get(name)
        return None if cut is None or cut.columns else cut.ranges

    def matrix(self, name: str, whole: PackedMatrix) -> PackedMatrix:
        """As in `Shard`."""
        cut = self._by_name.get(name)
        return whole if cut is None else cut_packed(whole, cut)

    def tensor(self, place: str, whole: Tensor) -> Tensor:
        """As in `Shard`."""
        if place in self._once and self.rank:
            return torch.zeros_like(whole)
        if place not in self._cuts:
            return whole
        cut, dim = self._cuts[place]
        # A view of a few rows would keep all of them in a host's memory.
        return cut_tensor(whole, cut, dim).clone(memory_format=torch.contiguous_format)

    def finish(self, decoder: Decoder) -> Decoder:
        """As in `Shard`."""
        link = _linked(self.link)
        layers = []
        for layer in decoder.layers:
            attention = replace(layer.attention, last=_summed(layer.attention.last, link))
            feed = layer.feed
            if isinstance(feed, Mlp):
                feed = replace(feed, last=_summed(feed.last, link))
            else:
                feed = SummedExperts(**fields_of(feed), link=link)
            layers.append(replace(layer, attention=attention, feed=feed))
        decoder = replace(decoder, layers=tuple(layers))
        if self._vocabulary is None:
            return decoder
        start, stop = self._vocabulary
        return replace(
            decoder,
            embed=summed_embedding(decoder.embed, start, stop - start, link),
            head=Beside(decoder.head, link, decoder.head.n * self.count),
        )

    def _cut_attention(
        self, model: Any, family: Family, where: str, shape: tuple[int, int, int, tuple[int, int]]
    ) -> None:
        group, dim, kv_heads, (first, last) = shape
        queries = (first * group * dim, last * group * dim)
        keys = (first * dim, last * dim)
        attention = model.get_submodule(where)
        if len(family.qkv) == 1:
            start = (0, kv_heads * group * dim, kv_heads * (group + 1) * dim)
            parts = (queries, keys, keys)
            ranges = tuple((a + at, b + at) for at, (a, b) in zip(start, parts, strict=True))
            self._cut_linear(model, f"{where}.{family.qkv[0]}", Cut(ranges))
        else:
            for name, part in zip(family.qkv, (queries, keys, keys), strict=True):
                self._cut_linear(model, f"{where}.{name}", Cut((part,)))
        self._cut_linear(model, f"{where}.{family.output}", Cut((queries,), columns=True))
        if getattr(attention, "sinks", None) is not None:
            self._cuts[f"{where}.sinks"] = Cut(((first * group, last * group),)), 0

    def _cut_mlp(self, model: Any, family: Family, where: str, unit: int) -> None:
        one, both = self._cuts_of_inner(_inner_of(model.get_submodule(f"{where}.{family.falling}")), unit)
        for name in family.rising:
            joined = family.gated and len(family.rising) == 1
            self._cut_linear(model, f"{where}.{name}", both if joined else one)
        self._cut_linear(model, f"{where}.{family.falling}", Cut(one.ranges, columns=True))

    def _cut_experts(self, model: Any, family: Family, where: str, unit: int, keys: KeyMap) -> None:
        """Every rank has a part of the inner features of every expert: all have as much to do."""
        experts = model.get_submodule(f"{where}.experts")
        transposed = bool(getattr(experts, "is_transposed", False))
        one, both = self._cuts_of_inner(_inner_of_experts(experts), unit)
        if not getattr(experts, "is_concatenated", True):  # gate and up are neighbours
            both = Cut(tuple((2 * start, 2 * stop) for start, stop in one.ranges))
        falling = Cut(one.ranges, columns=True)
        self._cuts[f"{where}.experts.gate_up_proj"] = both, 2 if transposed else 1
        self._cuts[f"{where}.experts.down_proj"] = falling, 1 if transposed else 2
        if getattr(experts, "gate_up_proj_bias", None) is not None:
            self._cuts[f"{where}.experts.gate_up_proj_bias"] = both, 1
            self._once.add(f"{where}.experts.down_proj_bias")
        for leaf, whole in (("gate_up_proj", both), ("down_proj", falling)):
            place = f"{where}.experts.{leaf}"
            stacks = (
                expert_positions(place, keys.fused.get(place, []), keys.rules) if place in keys.fused else []
            )
            for names in stacks or ():
                self._by_name |= dict.fromkeys(names, whole if len(stacks or ()) == 1 else one)
        if family.shared and hasattr(model.get_submodule(where), family.shared):
            self._cut_mlp(model, family, f"{where}.{family.shared}", unit)
            self._once.add(f"{where}.{family.shared}.{family.falling}.bias")

    def _cuts_of_inner(self, inner: int, unit: int) -> tuple[Cut, Cut]:
        """This rank's inner features, and those of gate and up where these are one matrix."""
        start, stop = share(inner, self.rank, self.count, unit)
        return Cut(((start, stop),)), Cut(((start, stop), (start + inner, stop + inner)))

    def _cut_vocabulary(self, model: Any, config: Any) -> None:
        """Both ends alike: they may be one tensor."""
        size = int(config.vocab_size)
        embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
        whole = embedding.weight.shape[0] == head.weight.shape[0] == size
        if size % self.count or not whole or not isinstance(head, nn.Linear):
            return
        self._vocabulary = share(size, self.rank, self.count)
        cut = Cut((self._vocabulary,))
        names = {id(module): name for name, module in model.named_modules()}
        self._cut_linear(model, names[id(head)], cut)
        self._cuts[f"{names[id(embedding)]}.weight"] = cut, 0
        embedding.padding_idx = None

    def _cut_linear(self, model: Any, name: str, cut: Cut) -> None:
        module = model.get_submodule(name)
        form = linear_form(module)
        if form is None:
            raise IndivisibleError(f"{name} is no plain matrix")
        rows = 0 if form == "linear" else 1
        self._cuts[f"{name}.weight"] = cut, 1 - rows if cut.columns else rows
        if getattr(module, "bias", None) is not None and not cut.columns:
            self._cuts[f"{name}.bias"] = cut, 0

    def _shrink(self, model: Any) -> None:
        """Give the modules the shapes of their parts: the loader checks what it reads against them."""
        for place, (cut, dim) in self._cuts.items():
            parent, _, leaf = place.rpartition(".")
            module = model.get_submodule(parent)
            part = cut_tensor(module._parameters[leaf], cut, dim)
            module._parameters[leaf] = nn.Parameter(part.clone(), requires_grad=False)
            if leaf == "weight" and isinstance(module, nn.Linear):
                module.out_features, module.in_features = part.shape


@dataclass
class LayerShard:
    """Whole layers on each rank, one rank after the other; `cuts` are where each rank's layers end.

    The first rank has the embedding, the last one norm and head; where these are one tensor, all have it.
    """

    rank: int
    cuts: Sequence[int]
    link: Link | None = None
    _absent: tuple[str, ...] = ()

    @property
    def layers(self) -> range:
        """The layers of this rank."""
        return range(0 if self.rank == 0 else self.cuts[self.rank - 1], self.cuts[self.rank])

    @property
    def _last(self) -> bool:
        return self.rank == len(self.cuts) - 1

    def take(self, model: Any, keys: KeyMap, packed: Mapping[str, StoredMatrix]) -> KeyMap:
        """As in `Shard`; raises UsageError where a rank would have no layer."""
        del packed
        family = family_of(model.config)
        if family is None:
            raise UsageError(
                f"A {model.config.model_type} model runs through transformers' forward, on one GPU.",
                "Leave --gpus out.",
            )
        count = len(getattr(model.get_submodule(family.body), family.layers))
        if self.cuts[-1] != count or not self.layers:
            raise UsageError(f"{count} layers can't be split over these GPUs.", "Use fewer GPUs.")
        where = f"{family.body}.{family.layers}."
        absent = [f"{where}{index}." for index in range(count) if index not in self.layers]
        names = {id(module): name for name, module in model.named_modules()}
        if not model.all_tied_weights_keys:
            if self.rank:
                absent.append(names[id(model.get_input_embeddings())] + ".")
            if not self._last:
                absent.append(names[id(model.get_output_embeddings())] + ".")
        self._absent = tuple(absent)
        return replace(
            keys,
            direct={place: name for place, name in keys.direct.items() if self.holds(place)},
            fused={place: parts for place, parts in keys.fused.items() if self.holds(place)},
        )

    def holds(self, place: str) -> bool:
        """As in `Shard`."""
        return not place.startswith(self._absent)

    def rows(self, name: str) -> tuple[tuple[int, int], ...] | None:
        """What a rank has it has whole."""
        del name
        return None

    def matrix(self, name: str, whole: PackedMatrix) -> PackedMatrix:
        """What a rank has it has whole."""
        del name
        return whole

    def tensor(self, place: str, whole: Tensor) -> Tensor:
        """What a rank has it has whole."""
        del place
        return whole

    def finish(self, decoder: Decoder) -> Decoder:
        """As in `Shard`."""
        link = _linked(self.link)
        rows = slice(self.layers.start, self.layers.stop)
        layers = list(decoder.layers[rows])
        head = decoder.head
        width = _width(layers[0])
        if not self._last:
            layers[-1] = LastLayer(**fields_of(layers[-1]), link=link)
            decoder = replace(decoder, last_norm=None, narrow=None)
        decoder = replace(
            decoder,
            layers=tuple(layers),
            cache_shapes=decoder.cache_shapes[rows],
            head=HeadOfLast(head if self._last else None, link, head.n, decoder.dtype),
        )
        if self.rank == 0:
            return decoder
        embed = received_rows(width, decoder.dtype, decoder.device, link)
        return replace(decoder, embed=embed, embedding_scale=None, widen=None, positions=None)


def _linked(link: Link | None) -> Link:
    if link is None:
        raise ValueError("a shard without a link can be planned, but not run")
    return link


def _width(layer: Any) -> int:
    """Features of the residual stream: what the attention's last matrix gives."""
    return int(layer.attention.last.n)


def _summed(last: Projection | None, link: Link) -> Summed:
    if last is None or isinstance(last, Apart):
        raise IndivisibleError("a block ends in no single matrix")
    inner: Any = last
    return Summed(replace(inner, bias=None), inner.bias, link, inner.n)


def widths_of(model: Any, family: Family | None, unit: int) -> Widths:
    """What of a model, on meta too, decides whether its matrices can be shared out."""
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    dim = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    known = Widths(family, model.config.model_type, heads, kv_heads, dim, frozenset(), unit)
    if family is None or family.latent:
        return known
    inner, normed_together = set(), False
    for layer in getattr(model.get_submodule(family.body), family.layers):
        norm = getattr(getattr(layer, family.attention), "q_norm", None)
        normed_together |= norm is not None and norm.weight.shape[0] != dim
        feed = getattr(layer, family.mlp) if family.mlp else layer
        if hasattr(feed, "experts"):
            inner.add(_inner_of_experts(feed.experts))
            feed = getattr(feed, family.shared, None) if family.shared else None
        if feed is not None:
            inner.add(_inner_of(getattr(feed, family.falling)))
    return known._replace(inner=frozenset(inner), normed_together=normed_together)


def _inner_of(falling: nn.Module) -> int:
    shape: torch.Size = falling.weight.shape  # type: ignore[assignment]
    return shape[0 if linear_form(falling) != "linear" else 1]


def _inner_of_experts(experts: Any) -> int:
    if not hasattr(experts, "gate_up_proj") or not hasattr(experts, "down_proj"):
        raise IndivisibleError("its experts have a form of their own")
    return int(experts.down_proj.shape[1 if getattr(experts, "is_transposed", False) else 2])
