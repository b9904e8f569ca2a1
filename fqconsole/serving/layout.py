"""How many GPUs share each layer, and how many shares of layers there are."""

from dataclasses import dataclass

from fqconsole.errors import UsageError
from fqconsole.serving.checkpoint import Joined, Servable


@dataclass(frozen=True)
class Layout:
    """`tensor` GPUs of a machine share each layer, `pipeline` groups of them take the layers in turn."""

    gpus: int  # of each node
    nodes: int
    tensor: int
    pipeline: int
    expert_parallel: bool
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> int:
        return self.tensor * self.pipeline


def choose_layout(model: Servable, gpus: int, nodes: int, *, tile: tuple[int, int] = (1, 1)) -> Layout:
    """The most GPUs a layer that divide heads and groups, the rest as pipeline; GPUs stay idle last.

    `tile`: rows and columns that an engine's kernels want each GPU's part of a matrix to be multiples of.
    Raises UsageError where there are more pipeline shares than layers.
    """
    expert_parallel = bool(model.description.experts) and gpus > 1
    legal = [
        n for n in range(1, gpus + 1) if gpus % n == 0 and not obstacles(model, n, tile, expert_parallel)
    ]
    tensor = max(legal, default=1)
    pipeline = gpus // tensor * nodes
    layers = model.description.layers
    if pipeline > layers:
        raise UsageError(
            f"{model.name} has {layers} layers, too few for {pipeline} GPUs one after the other.",
            f"Give at most {layers * tensor} GPUs: {_why(model, gpus, tile, expert_parallel)}.",
        )
    notes = []
    if tensor < gpus:
        why = _why(model, gpus, tile, expert_parallel)
        notes.append(f"tensor parallel {gpus} is not possible ({why}): {tensor} it is, and the rest pipeline")
    if nodes > 1:
        notes.append("tensor parallel stays inside a machine; between machines there is pipeline parallel")
    return Layout(gpus, nodes, tensor, pipeline, expert_parallel and tensor > 1, tuple(notes))


def obstacles(
    model: Servable, tensor: int, tile: tuple[int, int] = (1, 1), expert_parallel: bool = False
) -> list[str]:
    """Why `tensor` GPUs can't share each layer; empty where they can."""
    if tensor == 1:
        return []
    found = []
    heads, kv = model.description.heads, model.kv_heads
    if heads % tensor:
        found.append(f"{heads} heads")
    if kv and kv % tensor and tensor % kv:
        found.append(f"{kv} key-value heads")
    for part in model.joined:
        wrong = _cut(part, tensor, tile, expert_parallel)
        if wrong:
            found.append(wrong)
            break  # the same matrix of each layer
    return found


def _cut(part: Joined, tensor: int, tile: tuple[int, int], expert_parallel: bool) -> str:
    """What is wrong with the piece of one GPU."""
    group = part.scheme.group_size or 1
    if part.experts:
        if expert_parallel:
            return "" if part.experts >= tensor else f"{part.experts} experts"
        return _divides(part.name, part.rows, tensor, group)
    if part.reads_spread:
        return _divides(part.name, part.columns, tensor, max(group, tile[1]))
    return _divides(part.name, part.rows, tensor, tile[0])


def _divides(name: str, length: int, tensor: int, multiple: int) -> str:
    if length % tensor == 0 and length // tensor % multiple == 0:
        return ""
    of = f" in multiples of {multiple}" if multiple > 1 else ""
    return f"{name} of {length}{of}"


def _why(model: Servable, gpus: int, tile: tuple[int, int], expert_parallel: bool) -> str:
    return ", ".join(obstacles(model, gpus, tile, expert_parallel)) or "they divide nothing"
