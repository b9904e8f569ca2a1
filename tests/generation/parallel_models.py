"""Ranks of a model as threads of one process: what they compute, without what starts and ends processes."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from threading import Barrier

import torch

from fqconsole.generation.assembly import assemble
from fqconsole.generation.key_names import KeyMap

CPU = torch.device("cpu")
PATIENCE = 60  # seconds


class ThreadLink:
    """A `Link` whose ranks meet in memory."""

    def __init__(self, rank, count, table, barrier):
        self.rank, self.count = rank, count
        self._table, self._barrier = table, barrier

    def sum(self, partial):
        return torch.stack(self._all(partial)).sum(0)

    def beside(self, part):
        return torch.cat(self._all(part), -1)

    def from_rank(self, tensor, rank):
        return self._all(tensor)[rank].clone()

    def send(self, tensor):
        self._table["sent", self.rank] = tensor.clone()
        self._table["ready", self.rank].release()

    def receive(self, tensor):
        self._table["ready", self.rank - 1].acquire(timeout=PATIENCE)
        return self._table["sent", self.rank - 1]

    def _all(self, mine):
        self._table[self.rank] = mine
        self._barrier.wait(PATIENCE)
        found = [self._table[rank] for rank in range(self.count)]
        self._barrier.wait(PATIENCE)
        return found


def on_ranks(count, work):
    """`work(link)` on as many threads; what each returns."""
    from threading import Semaphore

    table = {("ready", rank): Semaphore(0) for rank in range(count)}
    barrier = Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        tasks = [pool.submit(work, ThreadLink(rank, count, table, barrier)) for rank in range(count)]
        return [task.result(PATIENCE) for task in tasks]


def part_of(model, shard, dtype=torch.float32):
    """The decoder of one rank, cut from a whole model in memory as the loader cuts it from files."""
    skeleton = deepcopy(model).to("meta")
    skeleton.config = deepcopy(model.config)
    whole = model.state_dict()
    keys = KeyMap(direct={place: place for place in whole})
    mine = shard.take(skeleton, keys, {})
    filled = deepcopy(model)
    filled.config = skeleton.config
    for place in mine.direct:
        parent, _, leaf = place.rpartition(".")
        module = filled.get_submodule(parent)
        part = shard.tensor(place, whole[place]).clone()
        assert part.shape == skeleton.get_submodule(parent)._parameters.get(leaf, part).shape
        if leaf in module._parameters:
            module._parameters[leaf] = torch.nn.Parameter(part, requires_grad=False)
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.__dict__.update(
                {
                    name: getattr(skeleton.get_submodule(parent), name)
                    for name in ("out_features", "in_features", "padding_idx")
                    if hasattr(module, name)
                }
            )
    return shard.finish(assemble(filled, dtype, CPU))
