"""Measuring what every candidate scheme would lose: one pass over the weights, all candidates of a block at
once, by the rounding that the run itself will use.

Of a matrix beyond `SAMPLE_WEIGHTS` weights rows are read in runs spread evenly over it, so that a large model
takes minutes on a CPU: a million weights tell a mean squared error to a fraction of a percent, and rows that
differ tell it to a few. That is little beside what is known about how much each matrix matters.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from fqconsole.models.description import ModelDescription
from quantizer.analysis import require_matrices, source_folder
from quantizer.balancing import choose_channels
from quantizer.base import base_plan
from quantizer.blocks import rounded
from quantizer.channels import Channels, absorbed, read_vector
from quantizer.device import block_rows, resolve_devices
from quantizer.head import find_head
from quantizer.measured import MatrixErrors, Measured, candidate_schemes, scheme_word
from quantizer.methods import DEFAULT_MODE, MODES, Methods, mode_word
from quantizer.parts import Piece
from quantizer.plan import ChannelSet, MatrixPlan, Plan
from quantizer.source import TensorFile
from quantizer.sums import weighted_sum
from quantizer.survey import Run, every_row, survey
from quantizer.watch import SilentWatch, Watch

SAMPLE_WEIGHTS = 1 << 21  # of a matrix or a stack of experts
RUN_ROWS = 16
LEAST_ROWS = 16  # of one expert
EMBEDDING_ROWS = 64
BASE_BITS = 4  # channels are balanced as they would be at these


def measure_candidates(
    description: ModelDescription,
    *,
    methods: Methods = MODES[DEFAULT_MODE],
    device: str = "auto",
    watch: Watch | None = None,
    sample_weights: int | None = SAMPLE_WEIGHTS,
) -> Measured:
    """Balance channels, then measure every candidate of every matrix; `sample_weights` None reads all rows.

    Memory is bounded by a few blocks of rows and a few numbers a channel. Raises what `analyse` raises.
    """
    watch = watch or SilentWatch()
    begun = time.monotonic()
    devices = resolve_devices(device)
    folder = source_folder(description)
    draft = base_plan(description, BASE_BITS, methods=methods)
    require_matrices(draft)
    if find_head(description, draft.kept) is not None:  # it may be asked for later
        draft = base_plan(description, BASE_BITS, methods=methods, head=BASE_BITS)
    if methods.balance or methods.importance:
        found = known = choose_channels(folder, description, draft, devices, watch)
    else:  # how much a channel matters is known all the same
        weighing = msgspec.structs.replace(draft, methods=Methods(importance=True))
        found, known = (), choose_channels(folder, description, weighing, devices, SilentWatch())
    draft = msgspec.structs.replace(draft, channels=found)
    weighed = msgspec.structs.replace(draft, methods=Methods(importance=True), channels=known)
    meter = _Meter(draft, Channels(folder, description, draft), Channels(folder, description, weighed))
    sums: dict[int, list[_Sums]] = defaultdict(list)
    for piece, seen in survey(
        folder,
        description,
        draft,
        meter.look,
        devices=devices,
        watch=watch,
        phase="measure",
        runs=_spread(draft, sample_weights),
    ):
        sums[piece.matrix] += [came.learned for came in seen]
    inputs = _input_squares(folder, description, known)
    return Measured(
        model=description.id,
        mode=mode_word(methods),
        matrices={
            matrix.name: _errors(sums[index], inputs.get(matrix.name))
            for index, matrix in enumerate(draft.matrices)
        },
        channels=found,
        embedding_square=_embedding_square(folder, description, draft),
        seconds=time.monotonic() - begun,
    )


@dataclass(frozen=True)
class _Sums:
    """Of some rows: Σ h W², and Σ h (W-Ŵ)² of each candidate."""

    rows: int
    norm: float
    errors: Mapping[str, float]


class _Meter:
    """Rounds blocks in every candidate scheme."""

    def __init__(self, plan: Plan, channels: Channels, weighing: Channels) -> None:
        self._plan = plan
        self._channels = channels
        self._weighing = weighing

    def look(self, piece: Piece, first: int, rows: Tensor, device: torch.device) -> _Sums:
        """All candidates of rows `[n, K]`, a few rows at a time."""
        matrix = self._plan.matrices[piece.matrix]
        columns = self._channels.columns(matrix.name).to(device)
        weights = self._weighing.columns(matrix.name).importance
        heed = torch.ones(piece.k, device=device) if weights is None else weights.to(device)
        candidates = {
            scheme_word(scheme): msgspec.structs.replace(matrix, scheme=scheme)
            for scheme in candidate_schemes(piece.k)
        }
        there = rows.to(device, non_blocking=True)
        sums = torch.zeros(1 + len(candidates), dtype=torch.float64, device=device)
        for at in range(0, len(rows), step := block_rows(device, piece.k)):
            wide = columns.prepared(there[at : at + step], first + at)
            sums += self._sums(wide, candidates, piece.module, columns.importance, heed)
        norm, *errors = sums.tolist()
        return _Sums(len(rows), norm, dict(zip(candidates, errors, strict=True)))

    def _sums(
        self,
        wide: Tensor,
        candidates: Mapping[str, MatrixPlan],
        name: str,
        importance: Tensor | None,
        heed: Tensor,
    ) -> Tensor:
        found = [weighted_sum(wide.square(), heed)]
        for matrix in candidates.values():
            made = rounded(wide, matrix, self._plan, name, importance)
            found.append(weighted_sum(made.sub_(wide).square_(), heed))
        return torch.stack(found)


def _spread(plan: Plan, sample_weights: int | None) -> Callable[[Piece, int], Iterable[Run]]:
    """Which rows of a piece are read: all, or runs spread evenly where its matrix is large."""

    def runs(piece: Piece, at_a_time: int) -> Iterable[Run]:
        matrix = plan.matrices[piece.matrix]
        if sample_weights is None or matrix.weights <= sample_weights:
            return every_row(piece, at_a_time)
        pieces = matrix.shape[0] if len(matrix.shape) == 3 else 1
        wanted = max(LEAST_ROWS, sample_weights // (pieces * piece.k))
        if wanted >= piece.rows:
            return every_row(piece, at_a_time)
        count = max(1, wanted // RUN_ROWS)
        return [(index * piece.rows // count, min(RUN_ROWS, piece.rows)) for index in range(count)]

    return runs


def _errors(sums: list[_Sums], input_square: float | None) -> MatrixErrors:
    norm = sum(part.norm for part in sums)
    return MatrixErrors(
        errors={
            word: sum(part.errors[word] for part in sums) / norm if norm else 0.0 for word in sums[0].errors
        },
        gain=norm / sum(part.rows for part in sums),
        input_square=input_square,
    )


def _input_squares(
    folder: Path, description: ModelDescription, found: Iterable[ChannelSet]
) -> dict[str, float]:
    """Mean square of what each reader of a norm gets: the norm's gains, since it makes the rest 1."""
    tensors = {tensor.name: tensor for tensor in description.tensors}
    squares: dict[str, float] = {}
    for held in found:
        if not held.of_rows:
            weight = read_vector(folder, tensors[held.producer])
            factors, _ = absorbed(weight, held)
            square = float(((weight.float() + held.offset) / factors).double().square().mean())
            squares |= dict.fromkeys(held.readers, square)
    return squares


def _embedding_square(folder: Path, description: ModelDescription, plan: Plan) -> float | None:
    """Mean of ‖row‖² over sampled rows of the largest embedding; None where there is none."""
    names = {kept.name for kept in plan.kept if kept.reason == "embedding"}
    found = [tensor for tensor in description.tensors if tensor.name in names and len(tensor.shape) == 2]
    if not found:
        return None
    tensor = max(found, key=lambda tensor: tensor.bytes)
    count = min(EMBEDDING_ROWS, tensor.shape[0])
    with TensorFile(folder / tensor.file) as file:
        rows = [file.rows(tensor, index * tensor.shape[0] // count, 1).float() for index in range(count)]
    return float(torch.cat(rows).double().square().sum(dim=1).mean())
