"""What the processes of one model exchange: NCCL between GPUs, gloo between processes on a CPU."""

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(minutes=30)  # a prompt on a slow CPU takes its time; who is gone is known by other means


class Link:
    """One rank's end of the exchange. Every rank makes the same calls in the same order."""

    def __init__(self, rank: int, count: int, device: torch.device, meeting: Path) -> None:
        """Blocks until all `count` ranks have come; `meeting` is a file that they share."""
        self.rank = rank
        self.count = count
        gpu = device.type == "cuda"
        dist.init_process_group(
            "nccl" if gpu else "gloo",
            store=dist.FileStore(str(meeting), count),  # type: ignore[attr-defined]
            rank=rank,
            world_size=count,
            timeout=PATIENCE,
            device_id=device if gpu else None,
        )

    def sum(self, partial: Tensor) -> Tensor:
        """The sum of every rank's tensor, in place."""
        partial = partial.contiguous()
        dist.all_reduce(partial)
        return partial

    def beside(self, part: Tensor) -> Tensor:
        """The parts `[..., n]` of all ranks, one after the other in the last dimension."""
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(self.count)]
        dist.all_gather(parts, part)
        return torch.cat(parts, -1)

    def from_rank(self, tensor: Tensor, rank: int) -> Tensor:
        """What `rank` has, into every rank's tensor."""
        dist.broadcast(tensor, rank)
        return tensor

    def send(self, tensor: Tensor) -> None:
        """To the next rank."""
        dist.send(tensor.contiguous(), self.rank + 1)

    def receive(self, tensor: Tensor) -> Tensor:
        """Into `tensor`, from the rank before."""
        dist.recv(tensor, self.rank - 1)
        return tensor

    def close(self) -> None:
        """End this end in order; the others may be gone."""
        if dist.is_initialized():
            dist.destroy_process_group()


def abort() -> None:
    """Have what waits for a rank that is gone return: kernels of NCCL wait for ever otherwise."""
    if not dist.is_initialized() or dist.get_backend() != "nccl":
        return  # gloo sees the closed connection itself
    group = dist.distributed_c10d._get_default_group()
    group._get_backend(torch.device("cuda")).abort()
