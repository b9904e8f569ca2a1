"""How a checkpoint is served by an engine: sizes, kernels, commands, and what speaks against it."""

from dataclasses import dataclass
from typing import Literal

from fqconsole.errors import UsageError
from fqconsole.fit.kv import layer_bytes
from fqconsole.models.description import ModelDescription
from fqconsole.serving.checkpoint import Servable, read_servable
from fqconsole.serving.commands import Step, Wish, sglang_steps, vllm_steps
from fqconsole.serving.kernels import MARLIN_GROUPS, KernelUse, kernel_uses
from fqconsole.serving.layout import Layout, choose_layout
from quantizer.matrices import is_head
from quantizer.scheme import group_word

Engine = Literal["vllm", "sglang"]
ENGINES: dict[str, str] = {"vllm": "vLLM 0.33.0", "sglang": "SGLang 0.5.23"}  # whose rules these are
SGLANG_TILE = (64, 128)  # rows and columns of a GPU's piece that its Marlin asks for
SIXTEEN_BIT_BYTES = 2
INSTEAD_OF_INT3 = {True: "--widths 4,8,16 beside the goal", False: "--bits 4"}  # of a plan, of the rule


@dataclass(frozen=True)
class Advice:
    """`refusals`: why the engine would fail; `notes`: what is to be known."""

    engine: Engine
    version: str
    model: str
    folder: str
    layout: Layout
    wish: Wish
    weights_bytes_per_gpu: int  # about: the embeddings and the head lie on the first and last alone
    kv_bytes_per_gpu: int  # of one sequence that fills the context
    kernels: tuple[KernelUse, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    refusals: tuple[str, ...]


def advise(description: ModelDescription, engine: Engine, gpus: int, nodes: int, wish: Wish) -> Advice:
    """Everything about serving a checkpoint. Raises UsageError for what can't be laid out at all."""
    if wish.context > description.context_length:
        raise UsageError(
            f"{description.id} reads at most {description.context_length:,} tokens, not {wish.context:,}.",
            "Give a shorter --context.",
        )
    model = read_servable(description)
    tile = SGLANG_TILE if engine == "sglang" and model.joined else (1, 1)
    layout = choose_layout(model, gpus, nodes, tile=tile)
    kernels = kernel_uses(model, layout, engine)
    steps = vllm_steps(model, layout, wish) if engine == "vllm" else sglang_steps(model, layout, wish)
    cache = sum(layer_bytes(layer, wish.context, 1, SIXTEEN_BIT_BYTES) for layer in description.attention)
    shared = layout.pipeline * max(1, min(layout.tensor, model.kv_heads))
    return Advice(
        engine=engine,
        version=ENGINES[engine],
        model=model.name,
        folder=model.folder,
        layout=layout,
        wish=wish,
        weights_bytes_per_gpu=-(-description.bytes // layout.used),
        kv_bytes_per_gpu=-(-cache // shared),
        kernels=kernels,
        steps=steps,
        notes=(*layout.notes, *_notes(kernels, engine)),
        refusals=(*model.reasons, *_refusals(model, kernels, engine)),
    )


def _refusals(model: Servable, kernels: tuple[KernelUse, ...], engine: Engine) -> list[str]:
    """What the engine's own code would refuse, or do wrongly."""
    reasons = []
    if any(scheme.bits == 3 for scheme in model.schemes):
        why = (
            "SGLang takes 4 and 8 bits only, not int3"
            if engine == "sglang"
            else "int3 is stored densely, as compressed-tensors has it since 0.18, and vLLM 0.33.0 pins "
            "0.17.0; engines of that time expect 10 codes a word and fail on the shapes (that its own loader "
            "takes int3 to Humming is read in its code, and not tried)"
        )
        reasons.append(f"{why}: quantize with {INSTEAD_OF_INT3[model.planned]}")
    head = next((part.name for part in model.joined if is_head(part.name)), None)
    if head is not None and engine == "sglang":
        reasons.append(
            f"SGLang is reported to load a packed output head ({head}) without reading it and to answer "
            "nonsense (sgl-project/sglang#35358): quantize without --head"
        )
    for use in kernels:
        if use.scheme.bits != 3 and "" in use.kernels.values():
            what = f"int{use.scheme.bits} in groups of {group_word(use.scheme.group_size)}"
            reasons.append(
                f"{ENGINES[engine]} has no kernel for {what}" + (" in experts" if use.experts else "")
            )
    return reasons


def _notes(kernels: tuple[KernelUse, ...], engine: Engine) -> list[str]:
    notes = []
    total = sum(use.matrices for use in kernels)
    slow = [use for use in kernels if not use.fast and "" not in use.kernels.values()]
    if slow and engine == "vllm":
        words = ", ".join(
            dict.fromkeys(f"int{u.scheme.bits} g{group_word(u.scheme.group_size)}" for u in slow)
        )
        count = sum(use.matrices for use in slow)
        groups = ", ".join(group_word(group) for group in MARLIN_GROUPS if group)
        notes.append(
            f"{count} of {total} matrices ({words}) leave the fast kernels: groups of {groups} or channel, "
            "in 4 or 8 bits, stay on them (quantize --granularity fixed --group-size 128)"
        )
    return notes
