"""One model scored against another on a text: the reference first, then the checkpoint, window by window.

Convention: token-level; each token of the text is scored once, in windows that begin with an eighth of
context from the one before; the mean is over all scored tokens of both models alike.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor

from fqconsole import paths
from fqconsole.errors import OperatorError, UsageError
from fqconsole.evaluation.measures import Totals, agreement_count, divergence_sum, log_probabilities, loss_sum
from fqconsole.evaluation.spool import COMFORTABLE_BYTES, Spool, check_disk, spool_bytes
from fqconsole.evaluation.windows import Window, batches, cut_windows, scored_tokens, tokenize
from fqconsole.generation.prompt import load_tokenizer
from fqconsole.generation.session import Session, open_session
from quantizer.device import resolve_device
from quantizer.watch import Watch

BATCH_BYTES = (
    64 << 20
)  # float32 logits of one forward: small enough for a GPU's corner, large enough to keep it busy
SIDE_BY_SIDE_MARGIN = 1.2  # weights on disk to memory in use, activations and allocator included


@dataclass(frozen=True)
class Evaluation:
    """Means over all scored tokens, natural logarithm."""

    perplexity: float
    reference_perplexity: float
    kl_divergence: float  # KL(reference ‖ checkpoint), nats per token
    top1_agreement: float  # share of positions where both find the same token most likely
    tokens: int
    seconds: float


def evaluate(
    checkpoint: Path,
    reference: Path,
    text: str,
    *,
    window: int = 512,
    max_tokens: int = 32768,
    device: str = "auto",
    watch: Watch,
) -> Evaluation:
    """Score `checkpoint` against `reference` on the first `max_tokens` tokens of `text`.

    The models are loaded one after the other; the reference's log-probabilities wait in a temporary file.
    Only where that file would be very large and both models fit together do they run side by side. Raises
    UsageError for a text or window too short and for models that don't belong together, OperatorError for NaN
    and a full disk.
    """
    started = time.perf_counter()
    place = resolve_device(device)
    ids, bos = tokenize(load_tokenizer(reference), text, max_tokens)
    if tokenize(load_tokenizer(checkpoint), text, max_tokens) != (ids, bos):
        raise _strangers(checkpoint, reference, "cut the text into different tokens")
    windows = cut_windows(ids, window, bos)
    job = _Job(windows, watch, place)
    with ExitStack() as stack:
        first = stack.enter_context(job.open(reference, window))
        needed = spool_bytes(job.count, first.vocab_size)
        if needed > COMFORTABLE_BYTES and _fits_beside(checkpoint, place):
            second = stack.enter_context(job.open(checkpoint, window))
            _check_vocab(first, second, checkpoint, reference)
            judged = job.side_by_side(first, second)
        else:
            paths.cache_dir().mkdir(parents=True, exist_ok=True)
            check_disk(paths.cache_dir(), needed, job.count)
            spool = Spool(paths.cache_dir())
            stack.callback(spool.close)
            job.spool_reference(first, spool)
            first.close()
            second = stack.enter_context(job.open(checkpoint, window))
            _check_vocab(first, second, checkpoint, reference)
            judged = job.against_spool(second, spool)
    return Evaluation(
        perplexity=judged.perplexity,
        reference_perplexity=job.reference.perplexity,
        kl_divergence=judged.kl_divergence,
        top1_agreement=judged.top1_agreement,
        tokens=job.count,
        seconds=time.perf_counter() - started,
    )


class _Job:
    """The passes over the windows, with their progress."""

    def __init__(self, windows: list[Window], watch: Watch, device: torch.device) -> None:
        self.windows = windows
        self.watch = watch
        self.device = device
        self.count = scored_tokens(windows)
        self.reference = Totals()

    def open(self, path: Path, window: int) -> Session:
        """Load a model under the phase "load"."""
        self.watch.checkpoint()
        told = False

        def tell(done: float, total: float) -> None:
            nonlocal told
            if not told:
                self.watch.phase("load", total, "B")
                told = True
            self.watch.progress(done, note=path.name, device_bytes=self._device_bytes())

        session = open_session(path, device=str(self.device), on_progress=tell, answers=False)
        if session.max_context is not None and window > session.max_context:
            session.close()
            raise UsageError(
                f"A window of {window} tokens is longer than {path} was made for.",
                f"Use a window of at most {session.max_context} tokens.",
            )
        return session

    def spool_reference(self, session: Session, spool: Spool) -> None:
        """First pass: the reference's own perplexity, and its log-probabilities to disk."""

        def take(tokens: Tensor, given: int, logp: Tensor, targets: Tensor) -> str:
            self.reference.loss += loss_sum(logp, targets)
            self.reference.tokens += targets.numel()
            spool.write(logp)
            return f"perplexity {self.reference.perplexity:.3f}"

        self._pass("evaluate reference", session, take)

    def against_spool(self, session: Session, spool: Spool) -> Totals:
        """Second pass: the checkpoint against what the reference left."""
        spool.rewind()
        totals = Totals()

        def take(tokens: Tensor, given: int, logp: Tensor, targets: Tensor) -> str:
            _add(totals, spool.read(tuple(logp.shape), logp.device), logp, targets)
            return _note(totals)

        self._pass("evaluate", session, take)
        return totals

    def side_by_side(self, first: Session, second: Session) -> Totals:
        """Both models at once, window by window."""
        totals = Totals()

        def take(tokens: Tensor, given: int, logp: Tensor, targets: Tensor) -> str:
            self.reference.loss += loss_sum(logp, targets)
            self.reference.tokens += targets.numel()
            _add(totals, logp, _predict(second, tokens, given), targets)
            return _note(totals)

        self._pass("evaluate", first, take)
        return totals

    def _pass(self, phase: str, session: Session, take: Callable[[Tensor, int, Tensor, Tensor], str]) -> None:
        """Run `session` over all windows; `take(tokens, given, logp, targets)` returns the note."""
        self.watch.phase(phase, self.count, "tokens")
        longest = max(len(piece.tokens) for piece in self.windows)
        size = max(1, BATCH_BYTES // (longest * session.vocab_size * 4))
        done = 0
        for tokens, given in batches(self.windows, size):
            self.watch.checkpoint()
            logp = _predict(session, tokens, given)
            targets = tokens[:, given:].to(logp.device)
            note = take(tokens, given, logp, targets)
            done += targets.numel()
            self.watch.progress(done, note=note, device_bytes=self._device_bytes())

    def _device_bytes(self) -> int | None:
        return torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else None


def _predict(session: Session, tokens: Tensor, given: int) -> Tensor:
    """Log-probabilities float32 `[B, T-given, V]` of the tokens after the given ones, of int64 `[B, T]`."""
    logits = session.logits(tokens)[:, given - 1 : -1]
    if bool(logits.isnan().any()):
        raise OperatorError(
            f"The output of {session.path} is not a number (NaN).",
            "Quantize again with finer groups or more bits.",
        )
    return log_probabilities(logits)


def _add(totals: Totals, reference: Tensor, logp: Tensor, targets: Tensor) -> None:
    totals.tokens += targets.numel()
    totals.loss += loss_sum(logp, targets)
    totals.divergence += divergence_sum(reference, logp)
    totals.agreements += agreement_count(reference, logp)


def _note(totals: Totals) -> str:
    return (
        f"perplexity {totals.perplexity:.3f} · KL {totals.kl_divergence:.4f} · "
        f"same top token {totals.top1_agreement * 100:.1f} %"
    )


def _fits_beside(path: Path, device: torch.device) -> bool:
    """Whether the model in `path` fits into what is free now, going by its size on disk."""
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return size * SIDE_BY_SIDE_MARGIN < free


def _check_vocab(first: Session, second: Session, checkpoint: Path, reference: Path) -> None:
    if first.vocab_size != second.vocab_size:
        raise _strangers(
            checkpoint, reference, f"have vocabularies of {second.vocab_size} and {first.vocab_size} tokens"
        )


def _strangers(checkpoint: Path, reference: Path, how: str) -> UsageError:
    return UsageError(
        f"{checkpoint} and {reference} {how}, so they can't be compared.",
        "Name the model that the checkpoint was made from as the reference.",
    )
