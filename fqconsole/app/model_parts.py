"""What of a model can be chosen besides its matrices: bits of the output head, schemes of routed experts."""

from dataclasses import dataclass

from fqconsole.models.description import ModelDescription


@dataclass(frozen=True)
class ModelParts:
    """Whether there is a head that can be packed, and whether there are routed experts to be quantized."""

    head: bool = False
    experts: bool = False


class PartsOf:
    """The parts of a model, kept for the next question: a large one has tens of thousands of tensors."""

    def __init__(self) -> None:
        self._kept: tuple[ModelDescription, ModelParts] | None = None

    def __call__(self, description: ModelDescription) -> ModelParts:
        """Takes a moment for a large model: not on the event loop."""
        if self._kept is None or self._kept[0] is not description:
            self._kept = (description, _found(description))
        return self._kept[1]


def _found(description: ModelDescription) -> ModelParts:
    from quantizer.head import find_head
    from quantizer.matrices import EXPERTS_SET, plan_matrices

    if description.quantization is not None:
        return ModelParts()
    inventory = plan_matrices(description)
    return ModelParts(
        head=find_head(description, inventory.kept) is not None,
        experts=any(matrix.fused_set == EXPERTS_SET for matrix in inventory.matrices),
    )
