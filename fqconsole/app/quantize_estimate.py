"""What a quantize job will do and what it costs, computed before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fqconsole.app import formatting, job_pace
from fqconsole.app.command_line import quantize_command
from fqconsole.app.fit_choices import goal_sentence, group_word, unusual
from fqconsole.app.job_pace import Pace
from fqconsole.app.model_rows import short_id
from fqconsole.app.planned import Planned
from fqconsole.app.services import Services
from fqconsole.app.workspace import FitChoice
from fqconsole.models.description import ModelDescription, ModelEntry
from quantizer.plan import Plan, plan_bits_per_weight, predicted_bytes
from quantizer.scheme import WIDTHS

SPARE = 1.05  # config, tokenizer and manifest beside the weights, and a little air


@dataclass(frozen=True)
class QuantizeEstimate:
    """Bytes are predicted from shapes; an adaptive plan may come out larger where it goes finer."""

    plan: Plan
    plan_path: str | None  # of a planned plan: where it is kept for the run
    source_bytes: int
    out_bytes: int
    out: Path
    disk_free: int
    mode: str
    seconds: float  # guessed, for where no run tells
    loss: float | None = None  # predicted, of a planned plan
    command: str = ""  # that does the same; empty where there is none

    @property
    def bits_per_weight(self) -> float:
        return plan_bits_per_weight(self.plan)

    @property
    def decided(self) -> bool:
        """Whether the plan is as it will be: adaptive groups may come out finer."""
        return self.plan.granularity in {"fixed", "planned"}

    @property
    def disk_ok(self) -> bool:
        return self.out_bytes * SPARE < self.disk_free


def estimate(
    services: Services, about: ModelDescription, choice: FitChoice, made: Planned | None = None
) -> QuantizeEstimate:
    """`made` is what became of a goal. Reads folders but no weights, and keeps a plan: call it from a
    thread. Raises OperatorError for a bad choice.
    """
    path: Path | None = None
    if made is not None and made.plan is not None:
        plan: Plan = made.plan
        path = services.save_plan(plan)
        out = services.suggest_checkpoint_path(about.id, plan.bits, "planned", "default", plan.head)
    else:
        plan = services.base_plan(
            about,
            bits=choice.bits,
            granularity=choice.granularity,
            group_size=choice.group_size,
            threshold=choice.threshold,
            experts=choice.experts,
            head=choice.head,
        )
        out = services.suggest_checkpoint_path(
            about.id, choice.bits, choice.granularity, choice.group_size, choice.head
        )
    return QuantizeEstimate(
        plan=plan,
        plan_path=None if path is None else str(path),
        source_bytes=about.bytes,
        out_bytes=predicted_bytes(plan) + sum(tensor.bytes for tensor in plan.kept),
        out=out,
        disk_free=services.disk_free(out),
        mode=choice.mode,
        seconds=services.first_guess(about.bytes, choice.mode, path is not None),
        loss=None if made is None else made.loss,
        command=quantize_command(about, choice),
    )


def title_of(entry: ModelEntry, choice: FitChoice) -> str:
    """`demo → int4 adaptive`, `Qwen3-8B → int4 groups of 128, head int8`, `demo → 3.6 bits per weight`."""
    if choice.goal == "room":
        what = "what fits"
    elif choice.goal != "rule":
        what = goal_sentence(choice)
    else:
        word = group_word(choice)
        groups = f"groups of {word}" if word.isdigit() else word
        what = f"{formatting.precision(choice.bits)} {groups}"
    widths = choice.widths if choice.goal != "rule" else WIDTHS
    return f"{short_id(entry)} → {', '.join([what, *unusual(choice.head, choice.experts, widths)])}"


def home_word(path: Path, home: Path) -> str:
    """A path with the home folder as ~."""
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def estimate_lines(guess: QuantizeEstimate, home: Path, known: Sequence[Pace], preview: Any) -> list[str]:
    """What the operator reads before pressing Enter: what it reads, writes, takes, and where it goes."""
    plan = guess.plan
    bits = f"{'' if guess.decided else 'at least '}{guess.bits_per_weight:.2f} bits a weight"
    enough = "✓" if guess.disk_ok else "✗ not enough"
    loss = "" if guess.loss is None else f", predicted loss {formatting.share(guess.loss)}"
    count, kept = len(plan.matrices), len(plan.kept)
    lines = [
        f"reads   {formatting.memory(guess.source_bytes):>9}  {count} "
        f"{'matrix' if count == 1 else 'matrices'} to quantize, "
        f"{kept} {'tensor stays' if kept == 1 else 'tensors stay'} in 16 bits",
        f"writes  {formatting.memory(guess.out_bytes):>9}  {bits}{loss}",
        f"disk    {formatting.memory(guess.disk_free):>9}  free there {enough}",
        f"time    {job_pace.time_line(known, guess.mode, guess.source_bytes, guess.seconds)}",
    ]
    if preview is not None:
        capacity = preview.capacity
        lines.append(
            f"memory  {formatting.memory(preview.quantize_peak):>9}  {_room_words(preview, capacity)}"
        )
    lines.append(f"into    {home_word(guess.out, home)}")
    return [*lines, f"command {guess.command}"] if guess.command else lines


def go_words(guess: QuantizeEstimate) -> str:
    """What to do now."""
    return "Press ⏎ to start." if guess.disk_ok else "Free some space there first."


def short_of_memory(preview: Any) -> str:
    """A sentence where the job is predicted to need more memory than is free here; else empty."""
    if preview is None or preview.capacity.kind == "named gpu":
        return ""
    free = preview.capacity.free_bytes
    if preview.quantize_peak < free:
        return ""
    return (
        f"The job needs up to {formatting.memory(preview.quantize_peak)}, and {formatting.memory(free)} are "
        "free. It may be ended when memory runs out; what is finished by then is kept."
    )


def _room_words(preview: Any, capacity: Any) -> str:
    sign = "✓" if preview.quantize_peak < capacity.free_bytes else "✗ not enough"
    place = "here" if capacity.kind == "host" else f"on {capacity.name}"
    return f"at most, {formatting.memory(capacity.free_bytes)} free {place} {sign}"
