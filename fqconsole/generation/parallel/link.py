"""What the processes of one model exchange: NCCL between GPUs, gloo between processes on a CPU."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(minutes=30)  # a prompt on a slow CPU takes its time; who is gone is known by other means
LOOK = 2e-5  # seconds between two looks at an exchange on the CPU: gloo's own wait can't be ended


class ExchangeError(RuntimeError):
    """An exchange that did not come about: another rank has left it."""


class Link:
    """One rank's end of the exchange. Every rank makes the same calls in the same order; a call raises
    ExchangeError when this rank is freed from waiting.
    """

    def __init__(self, rank: int, count: int, device: torch.device, meeting: Path) -> None:
        """Blocks until all `count` ranks have come; `meeting` is a file that they share."""
        self.rank = rank
        self.count = count
        self._device = device
        self._gpu = device.type == "cuda"
        self._freed = threading.Event()
        self._left: list[Any] = []  # groups of gloo, whose end would wait for exchanges that never end
        self.join(meeting)

    def join(self, meeting: Path) -> None:
        """As at first, after `leave`; `meeting` is a file that was not used before."""
        self._freed.clear()
        dist.init_process_group(
            "nccl" if self._gpu else "gloo",
            store=dist.FileStore(str(meeting), self.count),  # type: ignore[attr-defined]
            rank=self.rank,
            world_size=self.count,
            timeout=PATIENCE,
            device_id=self._device if self._gpu else None,
        )

    def sum(self, partial: Tensor) -> Tensor:
        """The sum of every rank's tensor, in place."""
        partial = partial.contiguous()
        self._run(dist.all_reduce, partial)
        return partial

    def beside(self, part: Tensor) -> Tensor:
        """The parts `[..., n]` of all ranks, one after the other in the last dimension."""
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(self.count)]
        self._run(dist.all_gather, parts, part)
        return torch.cat(parts, -1)

    def from_rank(self, tensor: Tensor, rank: int) -> Tensor:
        """What `rank` has, into every rank's tensor."""
        self._run(dist.broadcast, tensor, rank)
        return tensor

    def send(self, tensor: Tensor) -> None:
        """To the next rank."""
        self._run(dist.send, tensor.contiguous(), self.rank + 1)

    def receive(self, tensor: Tensor) -> Tensor:
        """Into `tensor`, from the rank before."""
        self._run(dist.recv, tensor, self.rank - 1)
        return tensor

    def free(self) -> None:
        """From another thread: have this rank return from waiting for one that has left or is gone."""
        self._freed.set()
        if self._gpu and dist.is_initialized():  # kernels of NCCL wait for ever otherwise
            with suppress(RuntimeError, AssertionError, AttributeError):
                _group()._get_backend(torch.device("cuda")).abort()

    def leave(self) -> None:
        """Leave at once, whatever is under way; the others are to be freed."""
        self.free()
        if dist.is_initialized() and not self._gpu:
            self._left.append(_group())
        with suppress(RuntimeError):
            self.close()

    def close(self) -> None:
        """End this end in order; the others may be gone."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def _run(self, exchange: Callable[..., Any], *given: Any) -> None:
        try:
            if self._gpu or exchange in (dist.send, dist.recv):
                exchange(*given)
                return
            work = exchange(*given, async_op=True)
            while not work.is_completed():
                if self._freed.is_set():
                    raise ExchangeError("another rank has left the exchange")
                time.sleep(LOOK)
            work.wait()
        except (torch.OutOfMemoryError, ExchangeError):
            raise
        except RuntimeError as error:
            raise ExchangeError(str(error)) from error


def _group() -> Any:
    return dist.distributed_c10d._get_default_group()
