"""The operator's store, opened for one command."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fqconsole import paths

if TYPE_CHECKING:
    from store import Store


@contextmanager
def open_store() -> Iterator["Store"]:
    """The store, made where there is none yet. Runs whose console died are marked interrupted first."""
    from fqconsole.jobs.runs import sweep_interrupted
    from store import Store

    with Store.open(paths.store_file()) as store:
        sweep_interrupted(store)
        yield store
