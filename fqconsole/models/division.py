"""How a model divides among GPUs: by heads, inner features and vocabulary where these go up, else by layers.

Sessions cut by these numbers, and the memory preview counts by them.

    q, k, v, gate, up     rows         the heads and inner features of one GPU
    o, down               columns      the same ones; what the GPUs get is summed
    embedding, head       rows         where the vocabulary divides, else the whole on each
    everything else                    the whole on each
"""

from typing import Literal, NamedTuple

from fqconsole.models.families import Family

Split = Literal["tensor", "layer"]
WORD = 32  # bits of a packed word; 32 codes end on a word whatever their width


class Widths(NamedTuple):
    """What of a model decides whether its matrices can be shared out."""

    family: Family | None
    model_type: str
    heads: int
    kv_heads: int
    head_dim: int
    inner: frozenset[int]  # features between the matrices of MLPs and of experts
    unit: int  # columns that stay together: of a group, of a packed word
    normed_together: bool = False  # queries have one norm over all heads


def share(total: int, rank: int, count: int, unit: int = 1) -> tuple[int, int]:
    """(start, stop) of `total` for GPU `rank` of `count`, as even as whole units allow; the last unit may be
    short.
    """
    units = -(-total // unit)
    return min(total, rank * units // count * unit), min(total, (rank + 1) * units // count * unit)


def unit_of(group_sizes: list[int | None]) -> int:
    """Columns that stay together in a model whose packed matrices have these groups: none in one without."""
    return max(WORD, *(size or 0 for size in group_sizes)) if group_sizes else 1


def obstacle(widths: Widths, count: int) -> str:
    """Why the matrices can't be shared out among `count` GPUs; empty where they can."""
    if widths.family is None:
        return f"a {widths.model_type} model runs through transformers' forward"
    if widths.family.latent:
        return "its keys and values share one latent vector"
    if not widths.kv_heads:
        return "not every layer has key heads"
    columns = widths.heads // widths.kv_heads * widths.head_dim  # of the output's matrix, for a key head
    ends = [columns * share(widths.kv_heads, rank, count)[1] for rank in range(count)]
    if widths.kv_heads < count or any(end % widths.unit for end in ends):
        return f"{widths.kv_heads} key heads of {widths.head_dim} on {count} GPUs, in groups of {widths.unit}"
    if widths.normed_together:
        return "its queries are normed over all heads at once"
    for inner in sorted(widths.inner):
        if inner < widths.unit * count or inner % widths.unit:
            return f"{inner} inner features on {count} GPUs, in groups of {widths.unit}"
    return ""


def split_of(widths: Widths, count: int) -> Split | None:
    """How a session on `count` GPUs splits the model; None: it runs on one, through transformers' forward."""
    if widths.family is None:
        return None
    return "layer" if obstacle(widths, count) else "tensor"
