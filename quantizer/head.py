"""The output head as one more matrix: a tensor of its own, or the embedding that a tied model uses twice.

A tied head is packed beside the embedding, which stays in 16 bits because tokens are looked up in it. The
checkpoint is larger for that, and a token reads less: the packed head in place of the embedding. Its config
says that the two are not tied any more, so that transformers and engines look for a head.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fqconsole.errors import UsageError
from fqconsole.models.description import ModelDescription
from quantizer.matrices import FLOATS, WEIGHT, Candidate, Inventory
from quantizer.plan import KeptTensor, Plan, own_weights

HEAD = "lm_head"
HEAD_BITS = (16, 8, 4)
LOWEST = "Leave --head out: the head stays in 16 bits."


def with_head(description: ModelDescription, inventory: Inventory) -> Inventory:
    """The inventory with the head among its matrices, the last of them.

    Raises UsageError for a model without a head that can be packed.
    """
    found = find_head(description, inventory.kept)
    if found is None:
        raise UsageError(f"{description.id} has no output head that can be quantized.", LOWEST)
    own = found.tensors[0] if not description.tied_embeddings else ""
    kept = tuple(tensor for tensor in inventory.kept if tensor.name != own)
    return Inventory((*inventory.matrices, found), kept)


def find_head(description: ModelDescription, kept: Sequence[KeptTensor]) -> Candidate | None:
    """The head `[V, K]` among the kept tensors; None where there is none, or more than one."""
    tied = description.tied_embeddings
    dtypes = {tensor.name: tensor.dtype for tensor in description.tensors}
    found = [
        tensor
        for tensor in kept
        if tensor.reason == ("embedding" if tied else HEAD)
        and len(tensor.shape) == 2
        and tensor.shape[0] == description.vocab_size
        and tensor.name.endswith(WEIGHT)
        and dtypes[tensor.name] in FLOATS
    ]
    if len(found) != 1:
        return None
    name = head_beside(found[0].name) if tied else found[0].name.removesuffix(WEIGHT)
    kind = name.rpartition(".")[2]
    return Candidate(name, (found[0].name,), found[0].shape, None, kind, name)


def head_beside(embedding: str) -> str:
    """Where transformers has the head of a tied model: beside the body that the embedding belongs to."""
    before, found, _ = embedding.partition(".model.")
    return f"{before}.{HEAD}" if found else HEAD


def untied(config: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The source's config.json, not tied any more where the plan packs a tied head."""
    if own_weights(plan) == sum(matrix.weights for matrix in plan.matrices):
        return dict(config)
    found = {**config, "tie_word_embeddings": False}
    text = found.get("text_config")
    if isinstance(text, dict):
        found["text_config"] = {**text, "tie_word_embeddings": False}
    return found
