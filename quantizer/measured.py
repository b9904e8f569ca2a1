"""What rounding each matrix in each candidate scheme would lose, measured once and kept; plans beside it.

The measurement depends on the weights and on how scales are found, not on what the operator wants, so one
serves every target. It is kept in the cache folder under a name made of all that it depends on.
"""

import hashlib
import os
from pathlib import Path

import msgspec

from fqconsole import __version__, paths
from fqconsole.errors import MALFORMED
from fqconsole.models.description import ModelDescription
from quantizer.disk import write_failure
from quantizer.journal import SourceState, source_states
from quantizer.methods import Methods, mode_word
from quantizer.plan import ChannelSet, Plan, plan_fingerprint
from quantizer.scheme import Scheme

CANDIDATE_BITS = (3, 4, 8)
CANDIDATE_GROUPS = (None, 128, 64, 32)
KEPT = Scheme(16, None)  # not quantized
VERSION = 2


class MatrixErrors(msgspec.Struct, frozen=True):
    """One matrix, or one stack of experts (means over all of them)."""

    # Σ h (W-Ŵ)² ÷ Σ h W² by scheme word, h the importance of the input channels where it is known
    errors: dict[str, float]
    gain: float  # Σ h W² ÷ N: mean square of an output, per mean square of the inputs
    # mean square of the inputs where they come from a norm, None where they don't or nobody knows
    input_square: float | None = None


class Measured(msgspec.Struct, frozen=True):
    """All that the planner has to know of the weights of one model."""

    model: str
    mode: str
    matrices: dict[str, MatrixErrors]
    channels: tuple[ChannelSet, ...]  # as the run is to balance them
    embedding_square: float | None = None  # mean over tokens of ‖embedding‖²
    seconds: float = 0.0
    version: int = VERSION


def candidate_schemes(k: int) -> tuple[Scheme, ...]:
    """The candidates of a matrix with rows of K weights; a group as long as a row is `channel`."""
    groups = [group for group in CANDIDATE_GROUPS if group is None or (k % group == 0 and group < k)]
    return tuple(Scheme(bits, group) for bits in CANDIDATE_BITS for group in groups)


def scheme_word(scheme: Scheme) -> str:
    """`4/64`, `8/channel`."""
    return f"{scheme.bits}/{scheme.group_word}"


def measured_path(folder: Path, description: ModelDescription, methods: Methods) -> Path:
    """Where the measurement of this model, as its files are now, is kept. Raises OperatorError for files that
    can't be read.
    """
    files = {tensor.file for tensor in description.tensors}
    states: tuple[SourceState, ...] = source_states(folder, files)
    word = msgspec.json.encode(
        [VERSION, __version__, mode_word(methods), description.dtype, os.path.realpath(folder), states]
    )
    name = description.id.rstrip("/").rpartition("/")[2]
    return paths.cache_dir() / "plans" / f"{name}-{hashlib.sha256(word).hexdigest()[:16]}.json"


def plan_path(plan: Plan) -> Path:
    """Where a finished plan is kept for the run that will follow it: named by what is in it."""
    return paths.cache_dir() / "plans" / f"plan-{plan_fingerprint(plan)[:16]}.json"


def save_plan(plan: Plan) -> Path:
    """Keep a plan; its path. Raises OperatorError where the cache folder can't be written."""
    path = plan_path(plan)
    _write(path, msgspec.json.encode(plan))
    return path


def load_plan(path: Path) -> Plan | None:
    """The plan kept there; None where there is none, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, *MALFORMED):
        return None


def load_measured(path: Path) -> Measured | None:
    """What is kept there; None where nothing is, or nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Measured)
    except (OSError, *MALFORMED):
        return None


def save_measured(path: Path, measured: Measured) -> None:
    """Keep it, whole or not at all. Raises OperatorError where the cache folder can't be written."""
    _write(path, msgspec.json.encode(measured))


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as failure:
        raise write_failure(failure, path) from failure
