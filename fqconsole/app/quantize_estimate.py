"""What a quantize job will do and what it costs, computed before it starts from shapes alone."""

from dataclasses import dataclass
from pathlib import Path

from fqconsole.app import formatting
from fqconsole.app.fit_choices import group_word
from fqconsole.app.model_rows import short_id
from fqconsole.app.services import Services
from fqconsole.app.workspace import FitChoice
from fqconsole.models.description import ModelDescription, ModelEntry
from quantizer.plan import Plan, plan_bits_per_weight, predicted_bytes

SPARE = 1.05  # config, tokenizer and manifest beside the weights, and a little air


@dataclass(frozen=True)
class QuantizeEstimate:
    """Bytes are predicted from shapes; an adaptive plan may come out larger where it goes finer."""

    matrices: int
    kept: int
    source_bytes: int
    out_bytes: int
    bits_per_weight: float
    out: Path
    disk_free: int
    adaptive: bool

    @property
    def disk_ok(self) -> bool:
        return self.out_bytes * SPARE < self.disk_free


def estimate(services: Services, about: ModelDescription, choice: FitChoice) -> QuantizeEstimate:
    """Reads no weights, but folders: call it from a thread. Raises OperatorError for a bad choice."""
    plan: Plan = services.base_plan(
        about, bits=choice.bits, granularity=choice.granularity, group_size=choice.group_size
    )
    out = services.suggest_checkpoint_path(about.id, choice.bits, choice.granularity, choice.group_size)
    return QuantizeEstimate(
        matrices=len(plan.matrices),
        kept=len(plan.kept),
        source_bytes=about.bytes,
        out_bytes=predicted_bytes(plan) + sum(tensor.bytes for tensor in plan.kept),
        bits_per_weight=plan_bits_per_weight(plan),
        out=out,
        disk_free=services.disk_free(out),
        adaptive=choice.granularity == "adaptive",
    )


def title_of(entry: ModelEntry, choice: FitChoice) -> str:
    """`demo → int4 adaptive`, `Qwen3-8B → int4 groups of 128`."""
    word = group_word(choice)
    groups = word if word in ("adaptive", "channel") else f"groups of {word}"
    return f"{short_id(entry)} → {formatting.precision(choice.bits)} {groups}"


def home_word(path: Path, home: Path) -> str:
    """A path with the home folder as ~."""
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def estimate_lines(guess: QuantizeEstimate, home: Path) -> list[str]:
    """What the operator reads before pressing Enter."""
    about = "at least " if guess.adaptive else ""
    bits = f"{about}{guess.bits_per_weight:.2f} bits a weight"
    sign = "✓" if guess.disk_ok else "✗ not enough"
    return [
        f"reads   {formatting.memory(guess.source_bytes):>9}  {guess.matrices} matrices to quantize, "
        f"{guess.kept} tensors kept in 16 bits",
        f"writes  {formatting.memory(guess.out_bytes):>9}  predicted, {bits}",
        f"disk    {formatting.memory(guess.disk_free):>9}  free there {sign}",
        f"into    {home_word(guess.out, home)}",
    ]
