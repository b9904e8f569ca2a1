"""What the operator wants of a plan, typed as options, and the plan that follows from it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fqconsole.cli.output import Output
from fqconsole.errors import DoesNotFitError, OperatorError, UsageError

if TYPE_CHECKING:
    from fqconsole.models.description import ModelDescription
    from quantizer.plan import ExpertSets, Plan
    from quantizer.planner import Planner
    from store import Store

HERE = "here"


class Wish(msgspec.Struct, frozen=True):
    """At most one of the first four; the next three go with `fit`, the last with any but a plan."""

    target_bits: float | None = None
    fit: str | None = None
    max_loss: str | None = None
    plan: Path | None = None
    gpus: int = 1
    context: int | None = None
    batch: int = 1
    widths: str | None = None  # "4,8,16"

    @property
    def named(self) -> bool:
        """Whether anything was wished for."""
        return any(wish is not None for wish in (self.target_bits, self.fit, self.max_loss, self.plan))

    def check(self, **others: object) -> None:
        """Raises UsageError for more than one wish, or one beside options of FineQuant's rule."""
        asked = {
            "--target-bits": self.target_bits,
            "--fit": self.fit,
            "--max-loss": self.max_loss,
            "--plan": self.plan,
        }
        named = [option for option, value in asked.items() if value is not None]
        named += [f"--{name.replace('_', '-')}" for name, value in others.items() if value is not None]
        if len(named) > 1 and self.named:
            raise UsageError(f"{named[0]} and {named[1]} say different things.", "Give one of them.")
        if self.max_loss is not None:
            share_of(self.max_loss)
        if self.widths is not None:
            if self.plan is not None:
                raise UsageError("--widths and --plan say different things.", "Edit the widths in the plan.")
            if not self.named:
                raise UsageError(
                    "--widths needs a goal to share bits out for.",
                    "Give --target-bits, --fit or --max-loss too.",
                )
            widths_of(self)


def measured(
    store: "Store",
    output: Output,
    description: "ModelDescription",
    *,
    mode: str,
    device: str,
    widths: Sequence[int],
    experts: "ExpertSets" = "model",
    head: int = 16,
    rule: dict[str, Any] | None = None,
) -> tuple["Planner", "Plan | None"]:
    """The planner of a model, whose candidates are measured in a worker unless that was done before, and with
    `rule` (bits, granularity, group size, threshold) FineQuant's plan.
    """
    from fqconsole.cli.job_driver import JobDriver
    from fqconsole.jobs.messages import AnyEvent, CandidatesMeasured, StartPlan
    from quantizer.measured import load_measured, measured_path
    from quantizer.methods import methods_of
    from quantizer.planner import Planner

    if description.path is None:
        raise UsageError(f"{description.id} is not on this machine.", "Download it first.")
    path = measured_path(Path(description.path), description, methods_of(mode))
    known = load_measured(path)
    ruled: list[Plan | None] = [None]
    if known is None or rule is not None:

        def watch(event: AnyEvent) -> None:
            if isinstance(event, CandidatesMeasured):
                ruled[0] = event.plan

        request = StartPlan(
            model_id=description.id, model_path=description.path, mode=mode, device=device, **(rule or {})
        )
        JobDriver(store, output).run(request, "", watch)
        known = load_measured(path)
    if known is None:
        raise OperatorError("The measurement ended without a result.", "Run it again.")
    return Planner(description, known, experts=experts, head=head, widths=widths), ruled[0]


def mode_of(wish: Wish, mode: str) -> str:
    """The mode to measure in: that of the plan file where one is given."""
    if wish.plan is None:
        return mode
    from quantizer.plan_file import read_plan_file

    return read_plan_file(wish.plan).mode


def experts_of(wish: Wish, experts: str) -> "ExpertSets":
    """Which experts share a scheme: what the plan file says where one is given. Raises UsageError for sets
    that don't exist.
    """
    from quantizer.base import require_expert_sets
    from quantizer.plan_file import read_plan_file

    return require_expert_sets(experts if wish.plan is None else read_plan_file(wish.plan).experts)


def head_of(wish: Wish, head: int | None) -> int:
    """Bits of the output head: what the plan file says where one is given. Raises UsageError for bits that it
    can't have, and for both.
    """
    from quantizer.base import require_head_bits
    from quantizer.plan_file import read_plan_file

    if wish.plan is not None:
        if head is not None:
            raise UsageError("--head and --plan say different things.", "Edit the head's line in the plan.")
        return read_plan_file(wish.plan).head
    require_head_bits(16 if head is None else head)
    return 16 if head is None else head


def widths_of(wish: Wish) -> tuple[int, ...]:
    """What a plan shares out: what the plan file says where one is given. Raises UsageError for widths that
    no plan has.
    """
    from fqconsole.cli.number_lists import numbers
    from quantizer.base import require_widths
    from quantizer.plan_file import read_plan_file
    from quantizer.scheme import WIDTHS

    if wish.plan is not None:
        return read_plan_file(wish.plan).widths
    return WIDTHS if wish.widths is None else require_widths(numbers(wish.widths, "--widths", allowed=WIDTHS))


def wished(planner: "Planner", description: "ModelDescription", wish: Wish) -> "Plan":
    """The plan that fulfils a wish. Raises UsageError for one that can't be, DoesNotFitError for a GPU that
    is too small.
    """
    if wish.target_bits is not None:
        return planner.within_bits(wish.target_bits, f"{wish.target_bits:g} bits per weight")
    if wish.max_loss is not None:
        limit = share_of(wish.max_loss)
        return planner.within_loss(limit, f"loss up to {limit * 100:g} %")
    if wish.plan is not None:
        from quantizer.plan_file import read_plan_file, schemes_of

        schemes = schemes_of(read_plan_file(wish.plan), planner.draft.matrices)
        return planner.with_schemes(schemes, wish.plan.name)
    return _fitting(planner, description, wish)


def share_of(text: str) -> float:
    """ "1%" and "0.01" are 0.01. Raises UsageError for anything else."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise UsageError(f"--max-loss {text!r} is no share.", "Give 1%, say, or 0.01.")
    return value


def _fitting(planner: "Planner", description: "ModelDescription", wish: Wish) -> "Plan":
    """The plan of least loss that the memory preview lets through."""
    from fqconsole.cli.memory_check import capacity
    from fqconsole.cli.quantities import size
    from fqconsole.fit import preview
    from fqconsole.fit.plan_memory import PlanMemory
    from quantizer.measured import KEPT

    found = preview(
        description,
        capacity(None if wish.fit == HERE else wish.fit),
        bits=(16, 8, 4, 3),
        gpu_counts=(wish.gpus,),
        context=wish.context,
        batch=wish.batch,
    )
    sizes = [(matrix.layer, planner.matrix_bytes(matrix, KEPT)) for matrix in planner.draft.matrices]
    layers = sum(size for layer, size in sizes if layer is not None)
    whole = sum(size for _, size in sizes)
    # The preview has the head in 16 bits: its room is there for the packed one, unless an embedding needs it.
    freed = 0 if description.tied_embeddings else whole - layers
    limit = PlanMemory(description, found, wish.gpus, layers).most_bytes + freed
    place = f"{found.capacity.name}, {wish.gpus} GPU{'s' if wish.gpus > 1 else ''}"
    if found.capacity.kind == "host":
        place = found.capacity.name
    smallest = planner.frontier[0].bytes
    if limit < smallest:
        raise DoesNotFitError(
            f"{description.id} does not fit in {place} at context {found.context}: "
            f"{size(limit)} would be left for matrices that take {size(smallest)} at the least.",
            "Choose more GPUs, a larger one, or a shorter context.",
        )
    return planner.within_bytes(min(limit, whole), f"fits {place}, context {found.context}")
