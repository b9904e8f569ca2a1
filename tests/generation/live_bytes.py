"""The memory of tensors while they live, on any device, meta too."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the memory of what torch's operators make while it is open; `peak` is the most."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._known = set()
        self._given = set()  # made before

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        spaces = {
            item.untyped_storage()._cdata for item in tree_leaves(args) if isinstance(item, torch.Tensor)
        }
        self._given |= spaces - self._known
        out = func(*args, **(kwargs or {}))
        for item in tree_leaves(out):
            if isinstance(item, torch.Tensor):
                space = item.untyped_storage()
                if space._cdata not in self._known | self._given:
                    self._known.add(space._cdata)
                    self.now += space.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(space, self._gone, space._cdata, space.nbytes())
        return out

    def _gone(self, place, count):
        self._known.discard(place)
        self.now -= count
