"""Python's garbage collector, held while large libraries are imported."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """While open nothing is searched for garbage.

    An import makes objects to keep, and every search passes over all there are so far: a fifth of the import
    of torch and transformers went into that.
    """
    held = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if held:
            gc.enable()
