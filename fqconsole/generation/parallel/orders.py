"""What the leading rank tells the others, one JSON line each, and what they answer."""

from typing import Any

import msgspec
import torch

from fqconsole.errors import DeviceError, OperatorError, UsageError


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call that every rank makes; `do` is its name, the rest what it needs."""

    do: str
    path: str = ""
    device: str = ""
    meeting: str = ""
    count: int = 0
    cuts: tuple[int, ...] | None = None  # where each rank's layers end; None: tensor parallel
    context: int = 0
    kv_bits: int = 16
    ids: tuple[int, ...] = ()
    rows: int = 0  # of `ids`, for logits
    fed: tuple[int, ...] | None = None


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`what` empty: done. `said` is what was asked for. `unasked`: a rank ran out of memory where
    nobody waits for its answer, and has left the exchange.
    """

    said: str = ""
    what: str = ""
    next_step: str = ""
    exit_code: int = 0
    memory: bool = False
    unasked: bool = False


def answer_to(error: BaseException) -> Answer:
    """What a rank answers where it failed."""
    if isinstance(error, OperatorError):
        return Answer(what=error.what, next_step=error.next_step, exit_code=error.exit_code)
    text = (str(error).strip().splitlines() or [""])[0]
    return Answer(what=f"{type(error).__name__}: {text}", memory=is_out_of_memory(error))


def is_out_of_memory(error: BaseException) -> bool:
    """Memory of the device or of the host ran out; what was allocated before is still good."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def failure_of(answer: Answer) -> Exception:
    """The same failure, to be raised here."""
    if answer.memory:
        return torch.OutOfMemoryError(answer.what)
    kinds: dict[int, type[OperatorError]] = {2: UsageError, 4: DeviceError}
    return kinds.get(answer.exit_code, OperatorError)(answer.what, answer.next_step)


def encode(item: Order | Answer) -> bytes:
    """One line."""
    return msgspec.json.encode(item) + b"\n"


def decode(line: bytes, kind: Any) -> Any:
    """An item of `kind` from its line."""
    return msgspec.json.decode(line, type=kind)
