"""A checkpoint as an engine sees it: matrices that it joins, how each is cut over GPUs, and their schemes."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from fqconsole.errors import UsageError
from fqconsole.models.description import ModelDescription
from quantizer.config import packing_refusals
from quantizer.manifest import Manifest, read_manifest
from quantizer.plan import MatrixPlan
from quantizer.scheme import Scheme

# Matrices whose inputs are spread over the GPUs: each GPU has columns of them, and rows of all others.
READS_SPREAD = frozenset(
    {"o_proj", "out_proj", "down_proj", "dense", "dense_4h_to_h", "fc2", "wo", "w2", "c_proj", "out_lin"}
)

WITH_HEADS = ("full", "sliding", "chunked")  # attention whose cache is cut by heads


@dataclass(frozen=True)
class Joined:
    """Matrices that an engine runs as one, [rows, columns], with one scheme; or the experts of a layer.

    Of experts `columns` is the model's hidden size and `rows` the inner size of one expert.
    """

    name: str
    rows: int
    columns: int
    scheme: Scheme
    matrices: int  # how many of the checkpoint it stands for
    experts: int = 0
    reads_spread: bool = False


@dataclass(frozen=True)
class Servable:
    """What is needed to say how an engine would run it. `reasons` are the engine-independent refusals."""

    name: str
    folder: str
    description: ModelDescription
    joined: tuple[Joined, ...]
    reasons: tuple[str, ...] = ()
    planned: bool = False  # its bits were shared out by what the operator wanted

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """Each scheme once, most matrices first."""
        counts: dict[Scheme, int] = defaultdict(int)
        for part in self.joined:
            counts[part.scheme] += part.matrices
        return tuple(sorted(counts, key=lambda scheme: -counts[scheme]))

    @property
    def kv_heads(self) -> int:
        """The fewest that any layer's cache has; 0 where no layer caches heads."""
        heads = [
            one.kv_heads for one in self.description.attention if one.kv_heads and one.kind in WITH_HEADS
        ]
        return min(heads, default=0)


def read_servable(description: ModelDescription) -> Servable:
    """From the model's description and its manifest. Raises UsageError for what was quantized by others."""
    folder = Path(str(description.path))
    name = folder.name if description.source == "folder" else description.id.rpartition("/")[2]
    if description.quantization is None:
        return Servable(name, str(folder), description, ())
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(
            f"{folder} was not quantized by fqconsole.",
            "The documentation of whoever made it says how it is served.",
        )
    planned = manifest.plan.granularity == "planned"
    return Servable(name, str(folder), description, _joined(manifest), _reasons(manifest), planned)


def _joined(manifest: Manifest) -> tuple[Joined, ...]:
    sets: dict[str, list[MatrixPlan]] = defaultdict(list)
    for matrix in manifest.plan.matrices:
        place = matrix.name.rpartition(".")[0]
        sets[place if len(matrix.shape) == 3 else matrix.fused_set].append(matrix)
    return tuple(_join(word, matrices) for word, matrices in sets.items())


def _join(word: str, matrices: list[MatrixPlan]) -> Joined:
    first = matrices[0]
    if len(first.shape) == 3:
        down = next((matrix for matrix in matrices if matrix.kind in READS_SPREAD), None)
        inner, hidden = (down.shape[2], down.shape[1]) if down else (first.shape[1], first.shape[2])
        experts = first.shape[0]
        return Joined(word, inner, hidden, first.scheme, experts * len(matrices), experts)
    rows = sum(matrix.shape[0] for matrix in matrices)
    spread = len(matrices) == 1 and first.kind in READS_SPREAD
    return Joined(word, rows, first.shape[1], first.scheme, len(matrices), reads_spread=spread)


def _reasons(manifest: Manifest) -> tuple[str, ...]:
    """What no engine loads, in the manifest's own words."""
    mixed = manifest.refused_by_engines
    reasons = []
    if mixed:
        reasons.append(
            "it was quantized with --granularity matrix, and engines join matrices that differ in it: "
            f"{mixed[0]}" + (f" and {len(mixed) - 1} more" if len(mixed) > 1 else "")
        )
    inside = [m.name for m in manifest.plan.matrices if len(m.shape) == 3 and "language_model" in m.name]
    if inside:
        reasons.append(
            "engines rename the layers of models that see images, but not inside patterns, and experts are "
            f"named by a pattern: {inside[0]}"
        )
    odd = packing_refusals(manifest.plan)
    if odd:
        reasons.append(
            f"engines load packed weights by their 16-bit names and directions, and {'; '.join(odd)}"
        )
    return tuple(reasons)
