"""What a verification found. Torch-free: the command line prints it."""

from typing import Literal

import msgspec

FaultKind = Literal["damaged", "source", "differs"]
SourceState = Literal["unchanged", "changed", "absent"]


class Fault(msgspec.Struct, frozen=True):
    """One thing that is not as it should be; `name` and `what` read as a sentence."""

    kind: FaultKind  # damaged: the checkpoint's files; source: the 16-bit model's; differs: the two disagree
    name: str  # of a file or a tensor
    what: str


class Verification(msgspec.Struct, frozen=True):
    """The state of one checkpoint."""

    checkpoint: str
    sound: bool  # no fault was found
    files: int  # safetensors files that were checksummed
    bytes: int  # of these files
    matrices: int  # in the checkpoint, experts singly
    remade: tuple[str, ...]  # matrices and kept tensors that were made again from the source and compared
    source: SourceState
    source_path: str | None
    faults: tuple[Fault, ...]
    seconds: float
