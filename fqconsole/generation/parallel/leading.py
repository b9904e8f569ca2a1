"""The steps of the leading rank: each call is told to the others, then made here."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from fqconsole.generation.decoder import Decoder
from fqconsole.generation.loading import LoadedModel
from fqconsole.generation.parallel.orders import Order
from fqconsole.generation.parallel.plan import cuts_of
from fqconsole.generation.parallel.rank import BytesProgress, load_part, place_of
from fqconsole.generation.parallel.ranks import RankLostError, Ranks
from fqconsole.generation.scratch import Scratch
from fqconsole.generation.static_cache import reserve
from fqconsole.generation.steps import DecoderSteps, Steps
from quantizer.device import resolve_device


class LeadingSteps:
    """As the one rank's `Steps`, on all of them."""

    def __init__(self, own: Steps, ranks: Ranks) -> None:
        self._own = own
        self._ranks = ranks
        self._meeting = ranks.meetings
        self.cache_tokens = own.cache_tokens

    def start(self, ids: Sequence[int]) -> int:
        self._ranks.tell(Order("start", ids=tuple(ids)))
        return self._own.start(ids)

    def forward(self, ids: Sequence[int]) -> Tensor:
        self._ranks.tell(Order("forward", ids=tuple(ids)))
        with self._ranks.working():
            return self._own.forward(ids)

    def step(self, token: Tensor) -> Tensor:
        self._ranks.tell(Order("step"))
        with self._ranks.working():
            return self._own.step(self._ranks.link.from_rank(token, 0))

    def finish(self, fed: Sequence[int] | None) -> None:
        self._own.finish(fed)
        # What was lost is told where it was noticed; ranks that met again have no text to finish.
        if self._ranks.lost is None and self._ranks.meetings == self._meeting:
            self._ranks.tell(Order("finish", fed=None if fed is None else tuple(fed)))

    def first_nan(self) -> str:
        self._ranks.tell(Order("first_nan"))
        with self._ranks.working():
            found = [self._own.first_nan(), *self._ranks.answers()]
        return next((part for part in found if part and part != "the head"), "the head")

    def cache_bytes(self) -> int:
        return self._own.cache_bytes()


def load_together(  # noqa: PLR0917 - open_session alone calls it
    path: Path,
    device: str,
    count: int,
    split: str,
    cuts: Sequence[int] | None,
    on_progress: BytesProgress | None,
    on_stuck: Callable[[RankLostError], None] | None,
) -> tuple[LoadedModel, Ranks]:
    """The leading rank's part of the model, the others having theirs; raises as `open_session` says."""
    resolve_device(str(place_of(device, count - 1)))
    where = cuts_of(path, count, split, cuts)
    ranks = Ranks(count, device, on_stuck)
    ranks.recovers = where is None or place_of(device, 0).type == "cuda"
    try:
        order = Order("load", path=str(path), device=device, count=count, cuts=where)
        ranks.tell(order)
        loaded, _ = load_part(order, 0, ranks.link, on_progress)
        ranks.answers()
    except BaseException:
        ranks.close()
        raise
    return loaded, ranks


def reserve_together(ranks: Ranks, decoder: Decoder, context: int, kv_bits: int, weights: int) -> Steps:
    """Memory for keys and values on every rank; raises what `reserve` does on any of them."""
    ranks.tell(Order("reserve", context=context, kv_bits=kv_bits))
    try:
        own = DecoderSteps(decoder, reserve(decoder, 1, context, kv_bits, weights))
    finally:
        ranks.answers()
    return LeadingSteps(own, ranks)


def logits_together(ranks: Ranks, scratch: Scratch, ids: Tensor) -> Tensor:
    """Logits float32 `[B, T, V]` for tokens int64 `[B, T]`."""
    ranks.tell(Order("logits", ids=tuple(ids.reshape(-1).tolist()), rows=ids.shape[0]))
    with ranks.working():
        return scratch.logits(ids)
