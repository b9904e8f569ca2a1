"""The memory of tensors while they live, on any device, meta too."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the memory of what torch's operators make on `device` while it is open; `peak` is the most."""

    def __init__(self, device):
        super().__init__()
        self.now = self.peak = 0
        self._device = torch.device(device)
        self._known = {}  # storage → its bytes; 0: it was there before

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self._note(args, made=False)
        out = func(*args, **(kwargs or {}))
        self._note(out, made=True)
        return out

    def _note(self, tree, *, made):
        for item in tree_leaves(tree):
            if not isinstance(item, torch.Tensor) or item.device != self._device:
                continue
            space = item.untyped_storage()
            if space._cdata not in self._known:
                self._known[space._cdata] = space.nbytes() if made else 0
                self.now += self._known[space._cdata]
                self.peak = max(self.peak, self.now)
                weakref.finalize(space, self._gone, space._cdata)

    def _gone(self, place):
        self.now -= self._known.pop(place)
