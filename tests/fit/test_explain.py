"""The lines of `fit --explain`."""

import pytest

from fqconsole.fit import explain, named_gpu, preview
from fqconsole.fit.sizes import size
from tests.fit.synthetic import llama, opt_175b


def test_every_term_stands_there_with_its_origin():
    found = preview(opt_175b(), named_gpu("a100-80gb"))
    option = found.option(4, 2)
    lines = explain(found, option)
    text = "\n".join(lines)
    assert lines[0] == "facebook/opt-175b: int4 on 2 GPUs, context 2,048, batch 1"
    for term in option.terms:
        assert any(term.name in line and size(term.bytes) in line and term.origin in line for line in lines)
    assert "codes N · ⌈K · 4 / 32⌉ · 4 B + scales N · K/group · 2 B" in text
    assert "96 full layers, 48 kv heads × 128" in text
    assert "the fullest GPU" in text
    assert "vendor's nominal" in text
    assert "verdict: fits" in text
    assert "weights of the whole model: 87.3 GiB, of its layers alone: 86.1 GiB" in text
    assert "quantize job's own peak" in text


def test_what_does_not_fit_says_what_would():
    found = preview(opt_175b(), named_gpu("a100-80gb"))
    text = "\n".join(explain(found, found.option(16, 1)))
    assert "does not fit" in text
    assert "it would with 8 GPUs" in text


def test_small_models_are_not_shown_as_nothing():
    found = preview(llama(), named_gpu("a100-80gb"))
    assert " 0.0 " not in "\n".join(explain(found, found.option(4, 1)))


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (3 << 9, "1.5 KiB"), (1 << 20, "1.0 MiB"), (-(5 << 30), "-5.0 GiB")],
)
def test_sizes(count, words):
    assert size(count) == words
