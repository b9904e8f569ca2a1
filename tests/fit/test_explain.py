"""The lines of `fit --explain`."""

import pytest

from fqconsole.fit import explain, named_gpu, preview, split_sentence
from fqconsole.fit.sizes import size
from tests.fit.synthetic import llama, opt_175b


def test_every_term_stands_there_with_its_origin():
    found = preview(opt_175b(), named_gpu("a100-80gb"))
    option = found.option(4, 2)
    lines = explain(found, option)
    text = "\n".join(lines)
    assert lines[0] == "facebook/opt-175b: int4 on 2 GPUs (tensor parallel), context 2,048, batch 1"
    for term in option.terms:
        assert any(term.name in line and size(term.bytes) in line and term.origin in line for line in lines)
    assert "codes N · ⌈K · 4 / 32⌉ · 4 B + scales N · K/group · 2 B" in text
    assert "96 full layers, 48 kv heads × 128" in text
    assert "the fullest GPU" in text
    assert "vendor's nominal" in text
    assert "verdict: fits" in text
    assert "weights of the whole model: 87.3 GiB, of its layers alone: 86.1 GiB" in text
    assert "quantize job's own peak" in text


def test_how_several_gpus_split_the_model_is_said():
    here = named_gpu("a100-80gb")
    found = preview(opt_175b(), here, bits=(4,), gpu_counts=(1, 2, 4, 8))
    assert split_sentence(found) == "Split: tensor parallel on 2, 4 and 8 GPUs"
    assert "on each of 4 GPUs at once" in "\n".join(explain(found, found.option(4, 4)))
    model = llama(kv_heads=2)
    found = preview(model, here, bits=(16, 4), gpu_counts=(2, 3))
    assert split_sentence(found) == "Split: tensor parallel on 2 GPUs, layers on 3 GPUs"
    assert split_sentence(preview(model, here, gpu_counts=(1,))) == ""
    foreign = preview(llama(family=""), here, gpu_counts=(2,))
    assert split_sentence(foreign) == "Split: all on one on 2 GPUs"


def test_a_split_that_depends_on_the_groups_says_for_which_widths():
    model = llama(hidden=128, inner=128, heads=4, kv_heads=4)  # heads of 32: a group of 64 takes two
    found = preview(model, named_gpu("a100-80gb"), bits=(16, 4), gpu_counts=(4,))
    assert split_sentence(found) == "Split: tensor parallel on 4 (16 bits) GPUs, layers on 4 (4 bits) GPUs"


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
