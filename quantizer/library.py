"""The quantizer as a library: a plan from a model, a checkpoint from a plan. No console, no worker.

What the command line does in a worker process happens here in the caller's own.
"""

from pathlib import Path
from typing import Literal

from fqconsole.models import describe, resolve_model
from quantizer.engine import analyse
from quantizer.engine import quantize as write_checkpoint
from quantizer.methods import DEFAULT_MODE, methods_of
from quantizer.plan import ExpertSets, Granularity, Plan
from quantizer.reader import Checkpoint, open_checkpoint
from quantizer.watch import Watch


def make_plan(
    model: str | Path,
    *,
    bits: int = 4,
    granularity: Granularity = "adaptive",
    group_size: int | Literal["default"] | None = "default",
    mode: str = DEFAULT_MODE,
    experts: ExpertSets = "model",
    head: int = 16,
    device: str = "auto",
    watch: Watch | None = None,
) -> Plan:
    """Read the weights of `model` once and decide how each matrix is stored; nothing is written.

    `model` is a folder, a built-in model's name, or a hub id that is in the cache. `bits` is 8, 4 or 3;
    `group_size` the group of a fixed plan or the base of an adaptive one, None one scale for a whole row;
    `mode`, `experts` and `head` as `fqconsole quantize` has them. Raises OperatorError, in words for people.
    """
    return analyse(
        describe(resolve_model(str(model))),
        bits=bits,
        granularity=granularity,
        group_size=group_size,
        methods=methods_of(mode),
        experts=experts,
        head=head,
        device=device,
        watch=watch,
    )


def quantize(
    model: str | Path, plan: Plan, out: str | Path, *, device: str = "auto", watch: Watch | None = None
) -> Checkpoint:
    """Write the checkpoint of `plan` to the new folder `out` and open it; close it, or use it in a `with`.

    A killed call goes on where it stopped when it is made again. Raises OperatorError, in words for people,
    and whatever the watch raises to end it.
    """
    summary = write_checkpoint(
        describe(resolve_model(str(model))), plan, Path(out), device=device, watch=watch
    )
    return open_checkpoint(Path(summary.checkpoint))
