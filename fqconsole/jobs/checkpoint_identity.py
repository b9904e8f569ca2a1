"""What a model folder says of itself in a few kilobytes: which model it stands for and how it is stored."""

from pathlib import Path

import msgspec

from fqconsole.models.config import read_config
from fqconsole.models.errors import ModelError
from fqconsole.models.quantization import MANIFEST, read_quantization

UNQUANTIZED_BITS = 16


class CheckpointIdentity(msgspec.Struct, frozen=True):
    """`group_size` 0 is channel, None several or none; `model` None: the folder does not say."""

    model: str | None = None
    revision: str | None = None
    bits: int | None = None
    group_size: int | None = None


def identify(folder: Path) -> CheckpointIdentity:
    """Read config.json and, where it lies beside, our manifest; a folder that can't be read says nothing.

    The run that follows will tell what is wrong with it.
    """
    revision = folder.name if folder.parent.name == "snapshots" else None
    try:
        stored = read_quantization(read_config(folder / "config.json"), folder / MANIFEST)
    except ModelError:
        return CheckpointIdentity(revision=revision)
    if stored is None:
        return CheckpointIdentity(revision=revision, bits=UNQUANTIZED_BITS)
    groups = set(stored.group_sizes)
    return CheckpointIdentity(
        model=stored.source_model,
        revision=revision,
        bits=stored.bits or None,
        group_size=(groups.pop() or 0) if len(groups) == 1 else None,
    )
