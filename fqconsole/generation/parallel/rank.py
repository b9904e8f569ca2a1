"""A rank's half of a session: its part of the model, and the steps on its part of the keys and values."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from fqconsole.generation.device import at_home, release
from fqconsole.generation.loading import LoadedModel, load_model
from fqconsole.generation.parallel.link import Link
from fqconsole.generation.parallel.orders import Order
from fqconsole.generation.parallel.shard import LayerShard, Shard, TensorShard
from fqconsole.generation.scratch import Scratch
from fqconsole.generation.static_cache import reserve
from fqconsole.generation.steps import DecoderSteps

BytesProgress = Callable[[float, float], None]


def place_of(device: str, rank: int) -> torch.device:
    """The GPU of a rank, counted from that of rank 0; a CPU is there for all."""
    first = torch.device(device)
    return first if first.type == "cpu" else torch.device(first.type, (first.index or 0) + rank)


def load_part(
    order: Order, rank: int, link: Link, on_progress: BytesProgress | None = None
) -> tuple[LoadedModel, torch.device]:
    """This rank's part of the model that `order` names."""
    device = place_of(order.device, rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    shard: Shard = (
        TensorShard(rank, order.count, link) if order.cuts is None else LayerShard(rank, order.cuts, link)
    )
    return load_model(Path(order.path), device, on_progress, shard), device


class Follower:
    """What a rank that isn't the leading one does with each order."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._link: Link | None = None
        self._loaded: LoadedModel | None = None
        self._steps: DecoderSteps | None = None
        self._scratch: Scratch | None = None
        self._device = torch.device("cpu")

    def connect(self, order: Order) -> None:
        self._device = place_of(order.device, self._rank)
        self._link = Link(self._rank, order.count, self._device, Path(order.meeting))

    def load(self, order: Order) -> None:
        self._loaded, self._device = load_part(order, self._rank, self._linked)

    def reserve(self, order: Order) -> None:
        loaded = self._model
        assert loaded.decoder is not None  # noqa: S101 - a shard is never loaded without one
        self._steps = None
        release(self._device)
        cache = reserve(loaded.decoder, 1, order.context, order.kv_bits, loaded.weights_bytes)
        self._steps = DecoderSteps(loaded.decoder, cache)

    def start(self, order: Order) -> None:
        self._stepping.start(order.ids)

    def forward(self, order: Order) -> None:
        self._stepping.forward(order.ids)

    def step(self, order: Order) -> None:
        del order
        token = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._stepping.step(self._linked.from_rank(token, 0))

    def finish(self, order: Order) -> None:
        self._stepping.finish(order.fed)
        release(self._device)

    def first_nan(self, order: Order) -> str:
        del order
        return self._stepping.first_nan()

    def logits(self, order: Order) -> None:
        loaded = self._model
        if self._scratch is None:
            assert loaded.decoder is not None  # noqa: S101 - as above
            self._scratch = Scratch(loaded.decoder)
        ids = torch.tensor(order.ids, dtype=torch.int64, device=self._device)
        self._scratch.logits(ids.view(order.rows, -1))

    def rejoin(self, order: Order) -> str:
        """Begin anew after memory ran out somewhere: the model stays, texts and their memory go. The answer
        names the meeting.
        """
        self._steps = self._scratch = None
        gc.collect()
        release(self._device)
        self._linked.leave()
        self._linked.join(Path(order.meeting))
        return order.meeting

    def leave(self) -> None:
        """Take part in no exchange any more."""
        self._linked.leave()

    def free(self) -> None:
        """From another thread: wait for no other rank."""
        if self._link is not None:
            self._link.free()

    def at_work(self) -> AbstractContextManager[None]:
        """Threads and the current GPU as the leading rank has them."""
        return at_home(self._device, 0 if self._loaded is None else self._loaded.weights_bytes)

    def close(self) -> None:
        """Leave in order."""
        if self._link is not None:
            self._link.close()

    @property
    def _linked(self) -> Link:
        if self._link is None:
            raise RuntimeError("not connected")
        return self._link

    @property
    def _model(self) -> LoadedModel:
        if self._loaded is None:
            raise RuntimeError("not loaded")
        return self._loaded

    @property
    def _stepping(self) -> DecoderSteps:
        if self._steps is None:
            raise RuntimeError("no memory was taken")
        return self._steps
