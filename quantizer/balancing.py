"""Column factors in the manner of SINQ (Müller et al., arXiv 2509.22944), found without data, set by set.

The columns of the matrices that read the same channels are made alike, and the inverse goes to where the
channels come from, so that nothing is added at run time. For a matrix W whose input channel c has magnitude
s_c, and σ_c the root mean square of column c after each row was divided by its own, the step of a group
follows the root mean square of the group's columns, and the noise of a column reaches the output times s_c.
With factors f on the columns the output's noise goes like

    mean_c (σ_c f_c)² · mean_c (s_c / f_c)²       which is least for f² = s / σ   (Cauchy-Schwarz)

SINQ itself takes f = 1 / σ. Both are of the form f = s^α · σ^(α-1), which also is unmoved by a rescaling of
the channels that leaves the model as it is. Which α is best depends on how far the columns are from Gaussian:
a few are tried on sampled rows, by rounding them, and no factors at all as well; the least weighted error
decides.
"""

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from fqconsole.models.description import ModelDescription
from kernels.device import runs_triton
from quantizer.absorption import find_channels
from quantizer.blocks import KERNEL_DTYPES, rounded, takes_kernel
from quantizer.channels import (
    OCTAVE,
    absorbed,
    decoded,
    encoded,
    importance_of,
    read_vector,
    search_importance,
    spread,
)
from quantizer.device import block_rows, one_thread_a_block, reader_count, tasks_under_way, workers_of
from quantizer.parts import Piece, plan_parts
from quantizer.pipeline import Lane, Pipeline, Task
from quantizer.plan import ChannelSet, Plan
from quantizer.rounding import SCALE_DTYPES
from quantizer.row_norms import Normed, RowNorms
from quantizer.source import TensorFile
from quantizer.sums import weighted_sum
from quantizer.watch import Watch

SAMPLE_ROWS = 256  # of all the readers of a set: σ to 4 %, half of a factor's own step
WORTH = 0.98  # factors must bring the error under this share to be worth changing a norm
# Of channels that rows make the magnitude is known only roughly, and smaller gains are often none: at int3
# they raised the KL divergence of `demo` by a tenth.
WORTH_OF_ROWS = 0.94
EXPONENTS = (0.0, 0.25, 0.5)  # α: SINQ's, between the two, and the Gaussian optimum
READ_FOR_ONE = 32  # weights are measured in the time in which one is rounded for each exponent
TINY = 1e-12


def choose_channels(
    folder: Path, description: ModelDescription, draft: Plan, devices: Sequence[torch.device], watch: Watch
) -> tuple[ChannelSet, ...]:
    """The channel sets of a plan with their factors and magnitudes; empty where its methods need none.

    Reads all of the matrices whose rows feed others, then a sample of the rows of each set's readers. The
    devices share both. Raises OperatorError for damaged files, DeviceError, and Cancelled from the watch.
    """
    if not (draft.methods.balance or draft.methods.importance):
        return ()
    found = find_channels(description, draft.matrices, draft.kept)
    if not found:
        watch.log(
            "info",
            f"{description.model_type} is not among the architectures whose channels are known: "
            "nothing is balanced.",
        )
        return ()
    chooser = _Chooser(folder, description, draft, found)
    watch.phase("balance", sum(map(chooser.work, found)), "weights")
    done = 0.0

    def tell(name: str, sampled: float) -> None:
        nonlocal done
        done += sampled
        watch.progress(done, note=name)
        watch.checkpoint()

    chosen: dict[int, ChannelSet] = {}
    rows = chooser.row_norms(devices[0])
    readers, workers = reader_count(devices[0]), workers_of(devices)

    def lanes(of_rows: bool) -> list[Lane[_Chosen]]:
        places = [place for place, held in enumerate(found) if held.of_rows == of_rows]
        count = max(1, readers // 2)  # for a few rows of each matrix; the others read whole ones meanwhile
        return [partial(chooser.lane, places[first::count]) for first in range(count)]

    def run(lanes: Sequence[Lane[_Chosen | Normed]]) -> None:
        pipeline = Pipeline(lanes, workers, readers=readers, depth=tasks_under_way(workers))
        with one_thread_a_block(devices[0]), pipeline:
            for came in pipeline.results():
                if isinstance(came, Normed):
                    rows.take(came)
                    tell(came.matrix, came.weights / READ_FOR_ONE)
                else:
                    chosen[came.place] = came.held
                    tell(came.held.producer, chooser.sampled(came.held))

    run([*lanes(of_rows=False), *rows.lanes()])
    chooser.learn(rows.found())
    run(lanes(of_rows=True))
    if draft.methods.balance:
        balanced = sum(bool(held.factors) for held in chosen.values())
        watch.log("info", f"{balanced} of {len(chosen)} sets of channels are balanced.")
    return tuple(chosen[place] for place in range(len(found)))


@dataclass(frozen=True)
class _Chosen:
    """A set by its place among all."""

    place: int
    held: ChannelSet


@dataclass(frozen=True)
class _Read:
    """What is read for one set."""

    norm: Tensor | None  # the norm that makes the channels, as it is stored
    samples: Mapping[str, Tensor]  # rows `[n, K]` by reader, on the CPU, as they are stored


_Tried = tuple[list[ChannelSet], list[float]]  # candidates, the first without factors, and their errors


class _Chooser:
    """What all sets need: where the matrices lie, and the magnitudes that the norms tell."""

    def __init__(
        self,
        folder: Path,
        description: ModelDescription,
        draft: Plan,
        found: Sequence[ChannelSet],
    ) -> None:
        self._folder = folder
        self._draft = draft
        self._found = found
        self._tensors = {tensor.name: tensor for tensor in description.tensors}
        self._matrices = {matrix.name: matrix for matrix in draft.matrices}
        self._pieces: dict[str, list[Piece]] = defaultdict(list)
        for part in plan_parts(description, draft):
            for item in part.items:
                if isinstance(item, Piece):
                    self._pieces[draft.matrices[item.matrix].name].append(item)
        self._norm_of = {name: held for held in found if not held.of_rows for name in held.readers}
        self._of_rows = [held.producer for held in found if held.of_rows]
        self._norms: Mapping[str, Tensor] = {}  # of the rows of those

    def row_norms(self, device: torch.device) -> RowNorms:
        """What measures how large the outputs of the matrices' rows are when their inputs are as the norm
        before tells.
        """
        gains = {
            name: _magnitudes(self._norm(norm), norm)
            for name in self._of_rows
            if (norm := self._norm_of.get(name)) is not None
        }
        return RowNorms(self._folder, {name: self._pieces[name] for name in self._of_rows}, gains, device)

    def learn(self, norms: Mapping[str, Tensor]) -> None:
        """Norms of the rows of each matrix: to be told before a set of such channels is chosen."""
        self._norms = norms

    def lane(self, places: Sequence[int]) -> Generator[Task[_Chosen], None, None]:
        """Reads for each of some sets and has it chosen."""
        for place in places:
            held = self._found[place]
            yield partial(self._task, place, held, self.read(held))

    def _task(self, place: int, held: ChannelSet, read: _Read, device: torch.device) -> _Chosen:
        return _Chosen(place, self.choose(held, read, device))

    def read(self, held: ChannelSet) -> _Read:
        """What `choose` needs of the files; called by several threads."""
        norm = None if held.of_rows else self._norm(held)
        if not self._draft.methods.balance:
            return _Read(norm, {})
        return _Read(norm, {name: self._sample(name, len(held.readers)) for name in held.readers})

    def choose(self, held: ChannelSet, read: _Read, device: torch.device) -> ChannelSet:
        """The set with its magnitudes, and with factors where they pay; called by several threads."""
        known = self._norms[held.producer] if read.norm is None else _magnitudes(read.norm, held)
        if not self._draft.methods.balance:
            return _with_magnitudes(held, known.to(device))
        candidates, errors = self._try_on_gpu(held, read, known, device) or self._try(
            held, read, known.to(device)
        )
        best = min(range(len(errors)), key=errors.__getitem__)
        share = errors[best] / errors[0] if errors[0] else 1.0
        if share > (WORTH_OF_ROWS if held.of_rows else WORTH):
            return msgspec.structs.replace(candidates[0], reason="balancing hardly lowers the error")
        reason = f"error {share:.2f} of what it was (α={EXPONENTS[best - 1]:g})"
        return msgspec.structs.replace(candidates[best], reason=reason)

    def work(self, held: ChannelSet) -> float:
        """What a set takes in all, in sampled weights that are rounded for each exponent."""
        read = self._matrices[held.producer].weights / READ_FOR_ONE if held.of_rows else 0.0
        return self.sampled(held) + read

    def sampled(self, held: ChannelSet) -> int:
        """Weights of a set that are rounded for each exponent."""
        return sum(
            self._rows_of_each(name, len(held.readers))
            * len(self._pieces[name])
            * self._matrices[name].shape[-1]
            for name in held.readers
        )

    def _rows_of_each(self, matrix: str, readers: int) -> int:
        """Sampled rows of each piece of a matrix that is one of so many readers."""
        return max(1, SAMPLE_ROWS // (readers * len(self._pieces[matrix])))

    def _norm(self, held: ChannelSet) -> Tensor:
        return read_vector(self._folder, self._tensors[held.producer])

    def _sample(self, matrix: str, readers: int) -> Tensor:
        """Rows `[n, K]` of a matrix or stack, evenly spread."""
        pieces = self._pieces[matrix]
        each = self._rows_of_each(matrix, readers)
        rows = []
        for piece in pieces:
            count = min(each, piece.rows)
            with TensorFile(self._folder / piece.tensor.file) as file:
                rows.append(file.sampled_rows(piece, [i * piece.rows // count for i in range(count)]))
        return torch.cat(rows) if len(rows) > 1 else rows[0]

    def _try(self, held: ChannelSet, read: _Read, magnitudes: Tensor) -> _Tried:
        samples = {name: rows.to(magnitudes.device).float() for name, rows in read.samples.items()}
        plain = _with_magnitudes(held, magnitudes)
        candidates = [plain, *_balanced(plain, magnitudes, list(samples.values()))]
        found = [self._error(candidate, read.norm, magnitudes, samples) for candidate in candidates]
        return candidates, torch.stack(found).tolist()

    def _try_on_gpu(
        self, held: ChannelSet, read: _Read, known: Tensor, device: torch.device
    ) -> _Tried | None:
        """The same in a few launches; None where the kernels do not take the set."""
        schemes = {self._matrices[name].scheme for name in held.readers}
        if not runs_triton(device) or len(schemes) > 1:
            return None
        (scheme,), methods = schemes, self._draft.methods
        told = known if read.norm is None else read.norm
        rows = torch.cat([rows.to(device, non_blocking=True) for rows in read.samples.values()]).float()
        if not takes_kernel(rows, scheme, methods) or told.dtype not in KERNEL_DTYPES:
            return None
        from quantizer.balance_kernel import candidates_on_gpu, errors_on_gpu  # triton is loaded here

        made = candidates_on_gpu(held, told.to(device, non_blocking=True), _sigma(held, [rows]), _step(held))
        errors = errors_on_gpu(
            rows,
            [len(sample) for sample in read.samples.values()],
            made,
            scheme.bits,
            scheme.group_size or rows.shape[1],
            methods.scales,
            SCALE_DTYPES[self._draft.scale_dtype],
            weighing=methods.importance and not held.of_rows,
        )
        if errors is None:
            return None
        magnitudes, *factors = (row.tobytes() for row in made.codes.cpu().numpy())
        plain = msgspec.structs.replace(held, magnitudes=magnitudes) if held.of_rows else held
        return [plain, *(msgspec.structs.replace(plain, factors=each) for each in factors)], errors

    def _error(
        self, held: ChannelSet, norm: Tensor | None, magnitudes: Tensor, samples: Mapping[str, Tensor]
    ) -> Tensor:
        """Σ over the readers of Σ s² (W - Ŵ)² ÷ Σ s² W², as the columns were before they were scaled:
        float64, one number, for which a GPU is not waited for.
        """
        factors = decoded(held.factors) if norm is None else absorbed(norm, held)[0]
        factors = factors.to(magnitudes.device)
        columns = spread(factors, held)
        weights = importance_of(spread(magnitudes / factors, held))
        importance = search_importance(magnitudes, factors, held) if self._draft.methods.importance else None
        zero = torch.zeros((), dtype=torch.float64, device=magnitudes.device)
        total = zero
        for name, sample in samples.items():
            error = whole = zero
            for rows in torch.split(sample, block_rows(sample.device, sample.shape[1])):
                prepared = rows * columns
                made = rounded(prepared, self._matrices[name], self._draft, name, importance)
                error = error + weighted_sum(made.sub_(prepared).square_(), weights)
                whole = whole + weighted_sum(prepared.square_(), weights)
            total = total + error / whole.clamp_min(TINY)
        return total


def _balanced(held: ChannelSet, magnitudes: Tensor, samples: Sequence[Tensor]) -> list[ChannelSet]:
    """The set with the factors that sampled rows `[n, K]` of its readers ask for, one for each exponent."""
    sigma, step = _sigma(held, samples), _step(held)
    made = (magnitudes.clamp_min(TINY) ** alpha * sigma ** (alpha - 1) for alpha in EXPONENTS)
    return [msgspec.structs.replace(held, factors=encoded(_centred(factors), step)) for factors in made]


def _sigma(held: ChannelSet, samples: Sequence[Tensor]) -> Tensor:
    """float32: σ of each channel, of sampled rows `[n, K]` of its readers."""
    rows = torch.cat([sample / _rms(sample, 1).unsqueeze(-1) for sample in samples])
    spread_of = rows.square().mean(dim=0)
    if held.repeat > 1:  # a value head has one factor for all the query heads that read it
        spread_of = spread_of.view(-1, held.repeat, held.head).mean(dim=1).reshape(-1)
    return spread_of.sqrt().clamp_min(TINY)


def _step(held: ChannelSet) -> int:
    """Of the codes of its factors: what stays in 16 bits is multiplied by whole powers of two."""
    return OCTAVE if held.kept_readers else 1


def _with_magnitudes(held: ChannelSet, magnitudes: Tensor) -> ChannelSet:
    """The set with its magnitudes, which norms tell themselves."""
    return msgspec.structs.replace(held, magnitudes=encoded(_centred(magnitudes))) if held.of_rows else held


def _magnitudes(norm: Tensor, held: ChannelSet) -> Tensor:
    """float32 `[K]`: how large the channels are that a norm with these weights makes."""
    return (norm.float() + held.offset).abs()


def _rms(values: Tensor, dim: int) -> Tensor:
    return values.square().mean(dim=dim).sqrt().clamp_min(TINY)


def _centred(values: Tensor) -> Tensor:
    """Divided by the geometric mean, so that scales and norms stay where they were on the whole."""
    safe = values.double().clamp_min(TINY)
    return safe / safe.log().mean().exp()
