"""What the Quantize screen says of a job, as plain lines and rows."""

from fqconsole.app import formatting
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.quantize_progress import PHASE_WORDS, QuantizeProgress, is_finer, shape_word
from fqconsole.app.widgets.record_table import Cell, Value
from fqconsole.jobs.messages import EvaluationDone, JobFailed, MatrixDone, StartQuantize


def bar_word(state: QuantizeProgress, paused: bool) -> str:
    """`layer 23/36  64 %`; the phase where matrices have not begun."""
    percent = f"{formatting.percent(state.fraction)}"
    if paused:
        return f"paused  {percent}"
    if state.phase == "quantize" and state.matrices:
        last = state.matrices[-1]
        return f"matrix {last.index + 1}/{last.count}  {percent}"
    return f"{PHASE_WORDS.get(state.phase, 'starting the worker')}  {percent}"


def running_lines(state: QuantizeProgress, elapsed: float) -> list[str]:
    """What is worked on, the times, the speed and the memory; then what has come out so far."""
    note = state.progress.note if state.progress else ""
    if state.matrices and state.phase == "quantize":
        last = state.matrices[-1]
        note = f"{last.name.removeprefix('model.layers.')} {shape_word(last.shape)}"
    left = f"~{formatting.duration(state.eta)} left" if state.eta is not None else "time left: unknown yet"
    speed = f"{formatting.memory(state.rate)}/s" if state.rate else ""
    peak = f"memory {formatting.memory(state.peak_bytes)}" if state.peak_bytes else ""
    times = "   ".join(
        word for word in (f"{formatting.duration(elapsed)} elapsed", left, speed, peak) if word
    )
    return [f"{times}", f"{so_far(state)}   {note}".strip()]


def so_far(state: QuantizeProgress) -> str:
    """`4.31 bits/weight   channel 3 · 64 ×138 · 32 ×12`."""
    if state.bits_per_weight is None:
        return ""
    groups = " · ".join(f"{word} ×{count}" for word, count in state.groups())
    return f"{state.bits_per_weight:.2f} bits/weight" + (f"   groups {groups}" if groups else "")


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
    return f"measuring: {progress.phase} {formatting.percent(progress.done / progress.total)}"


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


def worst_cells(event: MatrixDone, base: int | None, known_base: bool) -> list[Value]:
    """Layer, matrix, group, error; ▴ marks a group finer than the base."""
    finer = known_base and is_finer(event.group_size, base)
    layer = formatting.UNKNOWN if event.layer is None else str(event.layer)
    group = formatting.group(event.group_size)
    mark = " ▴" if finer else "  "
    return [
        layer,
        f" {event.kind}",
        Cell(group + mark, "tight" if finer else ""),
        formatting.error(event.relative_error),
    ]
