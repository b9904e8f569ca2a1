"""What of a model can be chosen besides its matrices, and that a plan follows the choice."""

import msgspec
import pytest

from fqconsole.app import rooms
from fqconsole.app.model_parts import ModelParts, PartsOf
from fqconsole.app.workspace import FitChoice
from fqconsole.models.description import ModelEntry, QuantizationInfo
from quantizer import base_plan
from quantizer.measured import MatrixErrors, Measured, candidate_schemes, scheme_word


@pytest.mark.parametrize(
    ("model", "parts"), [("demo", ModelParts(head=True)), ("demo-moe", ModelParts(head=True, experts=True))]
)
def test_the_built_in_models_have_a_head_and_one_has_experts(model, parts):
    about = rooms.describe(ModelEntry(model, "builtin", None))
    find = PartsOf()
    assert find(about) == parts
    assert find(about) is find(about)  # looked through once
    made = QuantizationInfo("compressed-tensors", 4, (64,), True)
    assert find(msgspec.structs.replace(about, quantization=made)) == ModelParts()
    bare = msgspec.structs.replace(about, tied_embeddings=False)  # without a head of its own
    assert not find(bare).head


def test_a_planner_is_kept_for_one_head_and_one_kind_of_sets(monkeypatch):
    about = rooms.describe(ModelEntry("demo-moe", "builtin", None))
    errors = {
        matrix.name: MatrixErrors(
            {scheme_word(scheme): 4.0**-scheme.bits for scheme in candidate_schemes(matrix.shape[-1])}, 1.0
        )
        for matrix in base_plan(about, 4, head=4).matrices
    }
    monkeypatch.setattr(
        "quantizer.measured.load_measured", lambda _path: Measured("demo-moe", "best", errors, ())
    )
    planners = rooms.Planners()
    first = planners(about, FitChoice())
    assert planners(about, FitChoice(goal="size")) is first
    packed = planners(about, FitChoice(head=8))
    assert (first.draft.head, packed.draft.head) == (16, 8)
    assert packed.weights - first.weights == about.vocab_size * about.hidden_size
    apart = planners(about, FitChoice(experts="layer"))
    assert len(apart.sets) == len(first.sets) + about.layers - 1
