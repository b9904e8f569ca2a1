"""A real worker one of whose ranks runs out of memory in an order, as soon as a file tells which.

    short_of_memory.py FILE …     the worker; what follows is for it
    short_of_memory.py --rank …   its other rank

The allocation is real: more than any device has, while the other rank waits for this one. FILE holds the
order's name, and is gone once that was done.
"""

import os
import sys
from pathlib import Path

import torch

FILE = "FQ_TEST_SHORT_OF_MEMORY"
ASKED = 1 << 50


def rank():
    from fqconsole.generation.parallel import follower
    from fqconsole.generation.parallel.rank import Follower

    file = Path(os.environ[FILE])

    def short(name, order):
        def do(self, given):
            if file.is_file() and file.read_text() == name:
                file.unlink()
                torch.empty(ASKED, dtype=torch.uint8, device=self._device)
            return order(self, given)

        return do

    for name in ("load", "reserve", "start", "forward", "step"):
        setattr(Follower, name, short(name, getattr(Follower, name)))
    follower.main()


def worker():
    from fqconsole.generation.parallel import ranks
    from fqconsole.jobs.worker import main

    os.environ[FILE] = sys.argv.pop(1)
    ranks.FOLLOWER = (sys.executable, "-P", __file__)
    main()


if __name__ == "__main__":
    rank() if "--rank" in sys.argv else worker()
