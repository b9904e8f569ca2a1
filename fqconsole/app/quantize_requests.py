"""From the Quantize screen to jobs and sessions: which request is made, and which job belongs to it."""

from collections.abc import Callable
from typing import Any

from fqconsole.app import formatting
from fqconsole.app.job_runner import JobHandle, JobRunner
from fqconsole.app.quantize_estimate import QuantizeEstimate
from fqconsole.app.unfinished import Unfinished
from fqconsole.app.workspace import FitChoice, SessionChoice, Workspace
from fqconsole.jobs.messages import CheckpointWritten, Request, StartEvaluate, StartQuantize
from fqconsole.models.description import ModelDescription
from quantizer.plan import Plan


def quantize_request(
    begin: Any,
    about: ModelDescription,
    choice: FitChoice,
    *,
    preview: Any,
    guess: QuantizeEstimate,
    out: str,
) -> Callable[[Any], Request]:
    """What makes the request and its run in the store's thread; `begin` is `fqconsole.jobs.runs`."""
    options = {
        "model_id": about.id,
        "model_path": about.path,
        "out": out,
        **asked_of(choice, guess),
        "revision": about.revision,
        **promised_peak(preview),
    }

    def make(store: Any) -> Request:
        request: Request = begin.begin_quantize(store, **options)
        return request

    return make


def asked_of(choice: FitChoice, guess: QuantizeEstimate) -> dict[str, Any]:
    """The options of a request that tell what is to be made."""
    if guess.plan_path is None:
        return {
            "bits": choice.bits,
            "granularity": choice.granularity,
            "group_size": choice.group_size,
            "threshold": choice.threshold,
            "mode": choice.mode,
            "experts": choice.experts,
            "head": choice.head,
        }
    return {
        "bits": guess.plan.bits,
        "granularity": "planned",
        "group_size": "default",
        "mode": choice.mode,
        "threshold": guess.plan.threshold,
        "experts": guess.plan.experts,
        "head": guess.plan.head,
        "widths": guess.plan.widths,
        "plan_path": guess.plan_path,
    }


def again_request(begin: Any, request: StartQuantize, preview: Any) -> Callable[[Any], Request]:
    """The request of a job that failed or was cancelled, as a run of its own."""
    options = {
        name: getattr(request, name)
        for name in request.__struct_fields__
        if name not in ("run_id", "protocol")
    }
    if options["plan_path"] is None:
        del options["plan_path"]

    def make(store: Any) -> Request:
        made: Request = begin.begin_quantize(store, **options, **promised_peak(preview))
        return made

    return make


def resume_request(begin: Any, run: Unfinished) -> Callable[[Any], Request]:
    """The same job once more, into the same folder: what is finished there is not done again."""

    def make(store: Any) -> Request:
        request: Request = begin.begin_quantize(store, **run.options)
        return request

    return make


def evaluate_request(
    begin: Any, request: StartQuantize, written: CheckpointWritten
) -> Callable[[Any], Request]:
    """The checkpoint against the model it was made from, on the built-in text."""

    def make(store: Any) -> Request:
        made: Request = begin.begin_evaluate(
            store, checkpoint_path=written.checkpoint, reference_path=request.model_path
        )
        return made

    return make


def promised_peak(preview: Any) -> dict[str, Any]:
    """The peak that the preview promised, for the run to compare with; none of a simulated GPU."""
    if preview is None or preview.capacity.kind == "named gpu":
        return {}
    gpu = 0 if preview.capacity.kind == "gpu" else None
    return {"predicted": {"total": preview.quantize_peak}, "predicted_gpu": gpu}


def made_from(
    job: JobHandle, about: ModelDescription, choice: FitChoice, guess: QuantizeEstimate | None
) -> bool:
    """Whether this quantize job is the one that the present choice asks for; of a goal its plan tells."""
    request = job.request
    if not isinstance(request, StartQuantize) or request.model_id != about.id or request.mode != choice.mode:
        return False
    if choice.goal != "rule":
        return guess is not None and request.plan_path == guess.plan_path
    names = ("bits", "granularity", "group_size", "threshold", "experts", "head")
    return all(getattr(request, name) == getattr(choice, name) for name in names)


def draft_of(job: JobHandle | None, guess: QuantizeEstimate | None) -> Plan | None:
    """The plan that a job began from, as far as the present estimate tells it: that of the same model."""
    if job is None or guess is None or guess.plan.model != getattr(job.request, "model_id", ""):
        return None
    return guess.plan


def evaluation_of(jobs: JobRunner, written: CheckpointWritten | None) -> JobHandle | None:
    """The latest evaluation of this checkpoint."""
    if written is None:
        return None
    for job in reversed(jobs.handles):
        if isinstance(job.request, StartEvaluate) and job.request.checkpoint_path == written.checkpoint:
            return job
    return None


def session_on(request: StartQuantize, written: CheckpointWritten, space: Workspace) -> SessionChoice:
    """A session on the finished checkpoint as chosen on Fit, with the prompt that its model suggests."""
    about = space.description
    prompt = about.suggested_prompt if about is not None and about.id == request.model_id else None
    return SessionChoice(
        path=written.checkpoint,
        model_id=request.model_id,
        label=f"{request.model_id.rpartition('/')[2]} {formatting.precision(request.bits)}",
        bits=request.bits,
        suggested_prompt=prompt or "",
        parent_run=request.run_id,
        reference_path=request.model_path,
        context=space.choice.context,
        kv_bits=space.choice.kv_bits,
        gpus=space.gpus_chosen,
    )
