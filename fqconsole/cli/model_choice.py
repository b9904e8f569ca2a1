"""The model that a word on the command line means: built in, a folder, a hub id, or a run's checkpoint."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from fqconsole.errors import UsageError

if TYPE_CHECKING:
    from fqconsole.models.description import ModelDescription, ModelEntry
    from store import Store

RUN_ID = re.compile(r"r\d{4,}")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def chosen(word: str, store: "Store | None" = None) -> "ModelEntry":
    """A model on this machine; with a store also `r0012`, the checkpoint that this run wrote.

    Raises UsageError naming the nearest models, or saying that a hub model has to be downloaded first.
    """
    from fqconsole.models import resolve_model

    if store is not None and RUN_ID.fullmatch(word) and not Path(word).exists():
        word = _checkpoint_of(word, store)
    try:
        return resolve_model(word)
    except UsageError:
        if _hub_id(word):
            raise UsageError(
                f"{word} is not on this machine.", f"Type: fqconsole models download {word}"
            ) from None
        raise


def described(word: str, store: "Store | None" = None) -> "ModelDescription":
    """Its description; a hub model that is not here is described over the network, before any download."""
    from fqconsole.models import describe, describe_hub

    try:
        entry = chosen(word, store)
    except UsageError:
        if _hub_id(word):
            return describe_hub(word)
        raise
    return describe(entry)


def _hub_id(word: str) -> bool:
    return HUB_ID.fullmatch(word) is not None and not word.startswith(".") and not Path(word).exists()


def _checkpoint_of(run_id: str, store: "Store") -> str:
    path = store.run(run_id).row.path
    if not path:
        raise UsageError(
            f"Run {run_id} wrote no checkpoint.", "Name a quantize run that is done, or a model."
        )
    if not Path(path).is_dir():
        raise UsageError(f"The checkpoint of run {run_id} is gone: {path}.", "Quantize the model again.")
    return path
