"""What the Quantize screen says of a job, as plain lines and rows."""

from dataclasses import dataclass
from typing import Any

from fqconsole.app import formatting
from fqconsole.app.balance_view import PHASES
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.planned import Planned, weights_from
from fqconsole.app.quantize_progress import PHASE_WORDS, QuantizeProgress, shape_word, went_finer
from fqconsole.app.widgets.record_table import Cell, Value
from fqconsole.app.workspace import FitChoice
from fqconsole.jobs.messages import EvaluationDone, JobFailed, MatrixDone, StartQuantize
from fqconsole.models.description import ModelDescription
from quantizer.plan import Plan


@dataclass(frozen=True)
class Promised:
    """The peak that the preview promised of the job, on the GPU or on the host."""

    bytes: int
    on_gpu: bool


def promised_by(preview: Any) -> Promised | None:
    """None of a GPU that is not here."""
    if preview is None or preview.capacity.kind == "named gpu":
        return None
    return Promised(preview.quantize_peak, preview.capacity.kind == "gpu")


def nothing_to_do(about: ModelDescription | None, choice: FitChoice, made: Planned | None) -> str:
    """Why there is nothing to quantize, and what to press; empty where there is. `made`: of a goal."""
    if about is None:
        return "No model is chosen yet. Press 1, choose one and press ⏎."
    if about.path is None:
        return weights_from(about)
    if choice.goal == "rule":
        return (
            "16-bit is the model as it is. Press 2 and choose int8, int4 or int3."
            if choice.bits == 16
            else ""
        )
    if made is None:
        return "The plan is being computed …"
    if made.state == "unmeasured":
        return "This goal needs the model measured once. Press 2, then ⏎."
    if made.problem:
        return made.problem
    return "" if made.quantizes else "This goal leaves the model in 16 bits. Press 2 for another."


def bar_word(state: QuantizeProgress, paused: bool) -> str:
    """`layer 23/36  64 %`; the phase where matrices have not begun."""
    percent = f"{formatting.percent(state.fraction)}"
    if paused:
        return f"paused  {percent}"
    if state.phase == "quantize" and state.matrices:
        last = state.matrices[-1]
        return f"matrix {last.index + 1}/{last.count}  {percent}"
    return f"{PHASE_WORDS.get(state.phase, 'starting the worker')}  {percent}"


def running_lines(state: QuantizeProgress, elapsed: float, promised: Promised | None) -> list[str]:
    """The times and the speed; the memory against what was predicted; what has come out so far."""
    left = f"~{formatting.duration(state.eta)} left" if state.eta is not None else "time left: unknown yet"
    speed = f"{formatting.memory(state.rate)}/s" if state.rate else ""
    times = "   ".join(word for word in (f"{formatting.duration(elapsed)} elapsed", left, speed) if word)
    return [times, memory_line(state, promised), so_far(state)]


def memory_line(state: QuantizeProgress, promised: Promised | None) -> str:
    """`memory  488 MiB host, peak 512 MiB · 1.1 GiB GPU, peak 1.2 GiB of 1.4 GiB predicted ✓`."""
    parts = []
    for place, now, peak in (
        ("host", state.host_bytes, state.host_peak),
        ("GPU", state.device_bytes, state.device_peak),
    ):
        if not peak:
            continue
        words = f"{formatting.memory(now)} {place}, peak {formatting.memory(peak)}"
        if promised is not None and promised.on_gpu == (place == "GPU"):
            sign = "✓" if peak <= promised.bytes else "! more"
            words += f" of {formatting.memory(promised.bytes)} predicted {sign}"
        parts.append(words)
    return f"memory  {' · '.join(parts)}" if parts else ""


def now_at(state: QuantizeProgress) -> str:
    """The matrix or the file that is worked on."""
    if state.matrices and state.phase == "quantize":
        last = state.matrices[-1]
        return f"{last.name.removeprefix('model.layers.')} {shape_word(last.shape)}"
    return state.progress.note if state.progress else ""


def so_far(state: QuantizeProgress) -> str:
    """`4.31 bits/weight   groups channel ×3 · 64 ×138 · 32 ×12`."""
    if state.bits_per_weight is None:
        return ""
    counts = state.schemes()
    words = " · ".join(f"{word} ×{count}" for word, count in counts)
    name = "" if counts and counts[0][0].startswith("int") else "groups "
    return f"{state.bits_per_weight:.2f} bits/weight" + (f"   {name}{words}" if words else "")


def done_lines(state: QuantizeProgress, quality: str) -> list[str]:
    """The result in numbers, what is known of its quality, and what Enter does next."""
    written = state.written
    if written is None:
        return ["The job ended without a checkpoint."]
    smaller = written.source_bytes / written.bytes if written.bytes else 0.0
    return [
        f"{formatting.memory(written.source_bytes)} → {formatting.memory(written.bytes)}, "
        f"{smaller:.1f} times smaller, in {formatting.took(written.seconds)}",
        f"{so_far(state)}   {written.model_bits_per_weight:.2f} over all weights",
        written.checkpoint,
        quality,
        "Press ⏎ to talk to it.",
    ]


def quality_line(job: JobHandle | None) -> str:
    """What an evaluation of the result says, or how to get one."""
    if job is None:
        return "v measures what was lost against the 16-bit model."
    done = next((event for event in reversed(job.history) if isinstance(event, EvaluationDone)), None)
    if done is not None:
        change = formatting.signed_percent(done.perplexity / done.reference_perplexity)
        return (
            f"perplexity {done.reference_perplexity:.3f} → {done.perplexity:.3f} ({change}) · "
            f"KL {done.kl_divergence:.4f} · same top token {done.top1_agreement * 100:.1f} %"
        )
    if job.failure is not None:
        return f"✗ not measured: {job.failure.what}"
    if not job.active:
        return "The measurement was cancelled; v starts it again."
    progress = job.progress
    if progress is None or progress.total <= 0:
        return "measuring what was lost …"
    words = PHASES.get(progress.phase, progress.phase)
    return f"measuring: {words} {formatting.percent(progress.done / progress.total)}"


def failed_lines(failure: JobFailed | None) -> list[str]:
    if failure is None:
        return ["The job ended without saying why. F8 shows the log."]
    return [f"✗ {failure.what}", failure.next_step, "Press ⏎ to try again, F8 for the log."]


def cancelled_lines(request: StartQuantize) -> list[str]:
    return [
        "Cancelled. What was finished stays for a resume.",
        "Press ⏎ to go on where it stopped.",
        request.out,
    ]


def scheme_words(bits: int, group: int | None, finer: bool) -> Value:
    """`4/64`, `4/32▴`; ▴ marks a group finer than the base."""
    mark = "▴" if finer else " "
    return Cell(f"{bits}/{formatting.group(group)}{mark}", "tight" if finer else "")


def worst_cells(event: MatrixDone, plan: Plan | None) -> list[Value]:
    """Layer, matrix, bits and group, error."""
    return [
        formatting.UNKNOWN if event.layer is None else str(event.layer),
        f" {event.kind}",
        scheme_words(event.bits, event.group_size, went_finer(plan, event.bits, event.group_size)),
        formatting.error(event.relative_error),
    ]


def planned_rows(made: Planned) -> list[tuple[str, list[Value]]]:
    """The matrices of a plan, those first that are predicted to lose most."""
    losses = dict(made.losses)
    matrices = sorted(made.plan.matrices, key=lambda matrix: -losses.get(matrix.name, 0.0))
    return [
        (
            matrix.name,
            [
                formatting.UNKNOWN if matrix.layer is None else str(matrix.layer),
                f" {matrix.kind}",
                scheme_words(matrix.scheme.bits, matrix.scheme.group_size, finer=False),
                formatting.share(losses.get(matrix.name)).replace(" %", "%"),
            ],
        )
        for matrix in matrices
    ]
