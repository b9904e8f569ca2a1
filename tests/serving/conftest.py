"""Checkpoints of the built-in models, quantized once."""

import pytest

from fqconsole.models import describe, resolve_model
from quantizer.engine import analyse, quantize
from quantizer.methods import MODES


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """`checkpoint("demo", 4)` is the description of a quantized model; made once."""
    made = {}

    def make(model, bits, **choices):
        key = (model, bits, tuple(choices.items()))
        if key not in made:
            source = describe(resolve_model(model))
            plan = analyse(source, bits=bits, methods=MODES["finequant"], device="cpu", **choices)
            out = tmp_path_factory.mktemp("served") / f"{model}-int{bits}"
            quantize(source, plan, out, device="cpu")
            made[key] = describe(resolve_model(str(out)))
        return made[key]

    return make
