"""What becomes of the operator's goal: the plan that fulfils it, or why there is none yet."""

from dataclasses import dataclass
from typing import Any, Literal

from fqconsole.app import formatting
from fqconsole.app.fit_choices import goal_sentence
from fqconsole.app.services import Services
from fqconsole.app.store_thread import sentence
from fqconsole.app.workspace import FitChoice
from fqconsole.errors import OperatorError
from fqconsole.models.description import ModelDescription

State = Literal["ready", "unmeasured", "impossible"]
MOST_BITS = 9.0  # of the plot: beyond it plans lose next to nothing


@dataclass(frozen=True)
class Planned:
    """The plan of a goal. `option` is the memory that it takes, as the preview tells it of plain widths."""

    state: State
    problem: str = ""
    plan: Any = None  # quantizer.plan.Plan
    bytes: int = 0  # of all matrices, those that stay in 16 bits included
    bits_per_weight: float = 0.0
    loss: float | None = None
    frontier: tuple[tuple[float, float], ...] = ()  # (bits per weight, predicted loss), both above 0
    losses: tuple[tuple[str, float], ...] = ()  # matrix → its share of the predicted loss
    option: Any = None

    @property
    def quantizes(self) -> bool:
        """Whether the plan leaves anything to do."""
        return self.plan is not None and bool(self.plan.matrices)


def planned(services: Services, about: ModelDescription, choice: FitChoice, preview: Any) -> Planned | None:
    """None with FineQuant's rule. Reads what was measured of the model: call it from a thread."""
    if choice.goal == "rule":
        return None
    if about.quantization is not None:
        return Planned("impossible", "This model is quantized already: ⏎ on it in Models talks to it.")
    if about.path is None:
        return Planned("impossible", f"A goal needs the weights. {weights_from(about)}")
    planner = None
    try:
        planner = services.planner(about, choice)
        if planner is None:
            return Planned("unmeasured")
        return _answer(services, planner, about, choice, preview)
    except OperatorError as error:
        return Planned("impossible", sentence(error), frontier=_frontier(planner) if planner else ())


def weights_from(about: ModelDescription) -> str:
    """How to get the weights of a model that is not here."""
    if about.source == "config":
        return "Only its config is known: type a hub id into the filter of Models."
    return "This model is not on this machine yet: press 1, then d to download it."


def _answer(
    services: Services, planner: Any, about: ModelDescription, choice: FitChoice, preview: Any
) -> Planned:
    gpus = 1 if preview.capacity.kind == "host" else choice.gpus
    memory = services.plan_memory(about, preview, gpus, planner)
    if choice.goal == "size":
        plan = planner.within_bits(choice.target_bits, goal_sentence(choice))
    elif choice.goal == "loss":
        plan = planner.within_loss(choice.max_loss, goal_sentence(choice))
    else:
        limit, smallest = memory.most_bytes, planner.frontier[0].bytes
        if limit < smallest:
            raise OperatorError(
                f"No plan fits: {formatting.memory(limit)} would be left for matrices that take "
                f"{formatting.memory(smallest)} at the least.",
                "Choose more GPUs or a shorter context.",
            )
        plan = planner.within_bytes(min(limit, planner.frontier[-1].bytes), f"fits {preview.capacity.name}")
    size = planner.plan_bytes(plan)
    bits = size * 8 / max(1, planner.weights)
    return Planned(
        "ready",
        plan=plan,
        bytes=size,
        bits_per_weight=bits,
        loss=planner.plan_loss(plan),
        frontier=_frontier(planner),
        losses=tuple(
            (matrix.name, matrix.predicted_loss)
            for matrix in plan.matrices
            if matrix.predicted_loss is not None
        ),
        option=memory.option(size, bits),
    )


def _frontier(planner: Any) -> tuple[tuple[float, float], ...]:
    return tuple(
        (point.bits_per_weight, point.predicted_loss)
        for point in planner.frontier
        if point.predicted_loss > 0 and point.bits_per_weight <= MOST_BITS
    )


def summary(made: Planned) -> str:
    """`3.60 bits/weight · 2.7 MiB · predicted loss 1.04 %`."""
    loss = "not known" if made.loss is None else formatting.share(made.loss)
    return f"{made.bits_per_weight:.2f} bits/weight · {formatting.memory(made.bytes)} · predicted loss {loss}"


def measuring_lines(about: ModelDescription) -> list[str]:
    """What a goal needs first, what that costs, and which key starts it."""
    return [
        "To plan, fqconsole must know what each matrix would lose at each width.",
        f"⏎ measures that once: it reads {formatting.memory(about.bytes)} and writes only to the cache.",
        "After that every goal is answered at once.",
    ]
