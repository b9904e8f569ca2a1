"""What presenter mode shows: a few figures of the latest job, for people who stand far from the screen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from fqconsole.app import formatting
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.quantize_progress import overall_fraction, phases_of
from fqconsole.jobs.messages import (
    CheckpointWritten,
    EvaluationDone,
    GenerationDone,
    PlanReady,
    SessionReady,
)

Kind = TypeVar("Kind")
SIXTEEN_BIT = ("bf16", "fp16", "fp32", "float16", "bfloat16", "float32")


@dataclass(frozen=True)
class Figure:
    """A number in large digits, what it is, and a word below it."""

    title: str
    digits: str
    unit: str = ""
    good: bool = False  # a gain, drawn in the colour of gains


@dataclass(frozen=True)
class Presented:
    """A headline and at most six figures."""

    title: str
    figures: tuple[Figure, ...]
    note: str = ""


NOTHING = Presented(
    "Nothing to show yet",
    (),
    "Start a quantize job or a session; its memory, speed and gain appear here. Esc goes back.",
)
BLIND = Presented(
    "A blind comparison", (), "Figures would tell which model is which. Vote first. Esc goes back."
)


def presented(jobs: Sequence[JobHandle], *, hidden: bool = False) -> Presented:
    """The figures of the open session, else of the latest quantize job. `hidden`: a vote is to come."""
    if hidden:
        return BLIND
    sessions = [job for job in jobs if job.kind == "session" and job.active]
    quantize = [job for job in jobs if job.kind == "quantize"]
    if quantize and (quantize[-1].active or not sessions):
        return _quantizing(quantize[-1])
    return _talking(sessions, jobs) if sessions else NOTHING


def _quantizing(job: JobHandle) -> Presented:
    plan = _last(job, PlanReady)
    written = _last(job, CheckpointWritten)
    if written is not None:
        smaller = written.source_bytes / written.bytes if written.bytes else 0.0
        return Presented(
            f"{job.title} · {job.status}",
            (
                _memory("before", written.source_bytes),
                _memory("after", written.bytes),
                Figure("times smaller", f"{smaller:.1f}", good=True),
                Figure("bits per weight", f"{written.model_bits_per_weight:.2f}", "of 16"),
                Figure("took", formatting.duration(written.seconds), "minutes"),
            ),
        )
    progress = job.progress
    done = (
        overall_fraction(progress.phase, progress.done, progress.total, phases_of(job.request))
        if progress
        else None
    )
    figures = [Figure("done", _digits(formatting.percent(done)))]
    if progress is not None:
        figures.append(Figure("time left", _digits(formatting.duration(progress.eta_seconds)), "minutes"))
        figures.append(_memory("memory of the job", progress.device_bytes or progress.host_bytes))
    if plan is not None:
        figures.append(_memory("quantized weights", plan.predicted_bytes))
        figures.append(Figure("bits per weight", f"{plan.bits_per_weight:.2f}", "of 16"))
    note = job.failure.what if job.failure is not None else ""
    return Presented(f"{job.title} · {job.status}", tuple(figures), note)


def _talking(sessions: Sequence[JobHandle], jobs: Sequence[JobHandle]) -> Presented:
    small = next((job for job in sessions if not _sixteen(job)), sessions[0])
    whole = next((job for job in sessions if job is not small and _sixteen(job)), None)
    ready, speed = _last(small, SessionReady), _speed(small)
    figures = [_speed_figure(small.title, speed)]
    if ready is not None and ready.weights_bytes:
        figures.append(_memory("its weights", ready.weights_bytes))
    answer = _last(small, GenerationDone)
    if answer is not None and answer.ttft_ms is not None:
        figures.append(Figure("first token after", f"{answer.ttft_ms:.0f}", "ms"))
    if whole is not None:
        other = _speed(whole)
        figures.append(_speed_figure(whole.title, other))
        reference = _last(whole, SessionReady)
        if reference is not None and reference.weights_bytes and ready is not None and ready.weights_bytes:
            times = reference.weights_bytes / ready.weights_bytes
            figures.append(Figure("times smaller", f"{times:.1f}", good=times > 1))
        if speed and other:
            figures.append(Figure("times as fast", f"{speed / other:.1f}", good=speed > other))
    else:
        figures += _lost(jobs)
    note = (
        ""
        if whole is not None
        else "F2 on the Session screen answers in 16 bits too, and shows the gain here."
    )
    return Presented(
        " beside ".join(job.title for job in (small, whole) if job is not None), tuple(figures[:6]), note
    )


def _lost(jobs: Sequence[JobHandle]) -> list[Figure]:
    """What quantizing lost, where that was measured in this console."""
    done = [
        event
        for job in jobs
        if job.kind == "evaluate"
        for event in job.history
        if isinstance(event, EvaluationDone)
    ]
    return (
        [Figure("same top token", formatting.percent(done[-1].top1_agreement), "as in 16 bits")]
        if done
        else []
    )


def _sixteen(job: JobHandle) -> bool:
    ready = _last(job, SessionReady)
    return ready is not None and ready.precision in SIXTEEN_BIT


def _speed(job: JobHandle) -> float | None:
    """Tokens a second of the answer under way, else of the last one."""
    if job.writing is not None and job.writing.tok_s is not None:
        return job.writing.tok_s
    done = _last(job, GenerationDone)
    return done.decode_tok_s if done is not None else None


def _speed_figure(title: str, speed: float | None) -> Figure:
    return Figure(title, "-" if speed is None else f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}", "tok/s")


def _memory(title: str, size: int | None) -> Figure:
    number, _, unit = formatting.memory(size).partition(" ")
    return Figure(title, _digits(number), unit)


def _digits(text: str) -> str:
    """What large digits can draw: a dash for what is unknown."""
    return "-" if text == formatting.UNKNOWN else text


def _last(job: JobHandle, kind: type[Kind]) -> Kind | None:
    return next((event for event in reversed(job.history) if isinstance(event, kind)), None)
