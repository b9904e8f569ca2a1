"""How vLLM and SGLang serve a checkpoint, as lines to read: sizes, kernels, the command, or why not."""

import shlex
from pathlib import Path

from fqconsole.app import formatting
from fqconsole.app.visible_text import one_line
from fqconsole.errors import OperatorError
from fqconsole.models.description import ModelDescription
from fqconsole.serving.advice import ENGINES, Advice, Engine, advise
from fqconsole.serving.commands import Wish
from fqconsole.serving.kernels import KernelUse

ORDER: tuple[Engine, ...] = ("vllm", "sglang")


def serving_lines(description: ModelDescription, gpus: int, context: int | None) -> list[str]:
    """Both engines, one after the other. Reads the manifest: not on the event loop."""
    wish = Wish(context or description.context_length)
    lines = [f"{one_line(Path(str(description.path)).name)} on {gpus} GPU(s) of one machine"]
    for engine in ORDER:
        lines += ["", ENGINES[engine], *_engine_lines(description, engine, gpus, wish)]
    return [*lines, "", "Other machines, Ray, --start: fqconsole serve-command --help"]


def _engine_lines(description: ModelDescription, engine: Engine, gpus: int, wish: Wish) -> list[str]:
    try:
        advice = advise(description, engine, gpus, 1, wish)
    except OperatorError as error:
        return [one_line(str(error))]
    if advice.refusals:
        return [f"can't serve it: {one_line(reason)}" for reason in advice.refusals]
    return _advice_lines(advice)


def _advice_lines(advice: Advice) -> list[str]:
    layout = advice.layout
    shares = [f"tensor parallel {layout.tensor}"]
    shares += [f"pipeline parallel {layout.pipeline}"] if layout.pipeline > 1 else []
    shares += ["expert parallel"] if layout.expert_parallel else []
    return [
        f"{', '.join(shares)}; each GPU about {formatting.memory(advice.weights_bytes_per_gpu)} of weights, "
        f"{formatting.memory(advice.kv_bytes_per_gpu)} of cache for {advice.wish.context:,} tokens",
        *(_kernel_line(use) for use in advice.kernels),
        *(f"note: {note}" for note in advice.notes),
        *(one_line(shlex.join(step.words)) for step in advice.steps),
    ]


def _kernel_line(use: KernelUse) -> str:
    """`int4 groups of 64, 56 matrices: Marlin; Machete on hopper`."""
    group = formatting.group(use.scheme.group_size)
    what = f"int{use.scheme.bits} {group if group == 'channel' else f'groups of {group}'}"
    names = list(use.kernels.values())
    main = max(set(names), key=names.count)
    others = [f"{kernel} on {name}" for name, kernel in use.kernels.items() if kernel != main]
    stacks = "matrices of experts" if use.experts else "matrices"
    return f"{what}, {use.matrices:,} {stacks}: {'; '.join([main, *others])}"
