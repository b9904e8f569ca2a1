"""The evaluate job: perplexity, KL divergence and top-1 agreement of a checkpoint with its 16-bit model."""

import math
import time
from pathlib import Path

from fqconsole.demo import heldout_text
from fqconsole.errors import OperatorError
from fqconsole.evaluation import evaluate, read_text
from fqconsole.jobs.desk import Desk
from fqconsole.jobs.memory_peak import tell_peak
from fqconsole.jobs.messages import EvaluationDone, StartEvaluate
from fqconsole.jobs.model_folder import look_at

smallest_change = "Use a smaller --window, free memory on the GPU, or evaluate with --device cpu."


def run(request: StartEvaluate, desk: Desk) -> None:
    """Evaluate `request.checkpoint_path` against `request.reference_path`."""
    checkpoint, reference = Path(request.checkpoint_path), Path(request.reference_path)
    look_at(checkpoint)
    look_at(reference)
    result = evaluate(
        checkpoint,
        reference,
        text_of(request.text_path),
        window=request.window,
        max_tokens=request.max_tokens,
        device=request.device,
        watch=desk.watch,
    )
    measured = (result.perplexity, result.reference_perplexity, result.kl_divergence, result.top1_agreement)
    if not all(math.isfinite(value) for value in measured):
        raise OperatorError(
            f"The evaluation gave no finite numbers (perplexity {result.perplexity}, reference "
            f"{result.reference_perplexity}): one of the two models computes infinities.",
            "Quantize again with finer groups, or check that the 16-bit model itself gives sensible text.",
        )
    desk.put(
        EvaluationDone(
            t=time.time(),
            run_id=request.run_id,
            perplexity=result.perplexity,
            reference_perplexity=result.reference_perplexity,
            kl_divergence=result.kl_divergence,
            top1_agreement=result.top1_agreement,
            tokens=result.tokens,
            seconds=result.seconds,
        )
    )
    tell_peak(desk.put, request.run_id)


def text_of(path: str | None) -> str:
    """The text to score: a UTF-8 file, or the built-in held-out text. Raises UsageError."""
    return heldout_text() if path is None else read_text(Path(path))
