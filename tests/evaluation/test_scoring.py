"""Whole evaluations of tiny models, against a direct computation with transformers."""

import math
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from fqconsole.errors import OperatorError, UsageError
from fqconsole.evaluation import evaluate, scoring
from fqconsole.generation.prompt import load_tokenizer
from quantizer.watch import Cancelled, SilentWatch
from tests.generation.tiny_models import TEXT, edit_tensors, quantize, save_llama, write_tokenizer


class Listening(SilentWatch):
    """Remembers what it was told."""

    def __init__(self):
        super().__init__()
        self.phases = []
        self.told = []

    def phase(self, name, total, unit):
        self.phases.append((name, total, unit))

    def progress(self, done, *, note="", device_bytes=None):
        self.told.append((self.phases[-1][0], done, note))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A 16-bit Llama and its int4 form."""
    base = tmp_path_factory.mktemp("evaluation")
    save_llama(base / "source")
    write_tokenizer(base / "source")
    quantize(base / "source", base / "packed", base / "plain", bits=4, group_size=64)
    return base / "source", base / "packed", base / "plain"


def log_probabilities_of(model, ids):
    """Float64 from the last hidden state on: a bf16 head would turn near-equal tokens into ties."""
    hidden = model.model(ids).last_hidden_state[0, :-1]
    return torch.log_softmax(hidden.double() @ model.lm_head.weight.double().mT, -1)


def direct(reference, model, windows):
    """Perplexity of both, KL and agreement, computed window by window in float64."""
    losses, other, divergences, agreements = [], [], [], []
    for window, given in windows:
        ids = torch.tensor([window])
        with torch.inference_mode():
            p, q = (log_probabilities_of(each, ids) for each in (reference, model))
        for i, target in list(enumerate(window[1:]))[given - 1 :]:
            losses.append(-p[i, target].item())
            other.append(-q[i, target].item())
            divergences.append((p[i].exp() * (p[i] - q[i])).sum().item())
            agreements.append(p[i].argmax() == q[i].argmax())
    count = len(losses)
    return (
        math.exp(sum(losses) / count),
        math.exp(sum(other) / count),
        sum(divergences) / count,
        sum(agreements) / count,
        count,
    )


@pytest.mark.parametrize("beside", [False, True])
def test_the_numbers_are_those_of_a_direct_computation(folders, beside, monkeypatch):
    source, packed, plain = folders
    if beside:  # a spool so large that both models are loaded together
        monkeypatch.setattr(scoring, "COMFORTABLE_BYTES", 0)
    watch = Listening()
    found = evaluate(packed, source, TEXT * 8, window=32, max_tokens=200, watch=watch)
    ids = load_tokenizer(source)(TEXT * 8, add_special_tokens=False)["input_ids"][:200]
    windows = [(ids[:32], 1), *((ids[at - 4 : at + 28], 4) for at in range(32, 200, 28))]
    models = [AutoModelForCausalLM.from_pretrained(p, dtype=torch.bfloat16).eval() for p in (source, plain)]
    reference_perplexity, perplexity, divergence, agreement, count = direct(*models, windows)
    assert found.tokens == count == 200 - 1
    # transformers' forward rounds to bf16 in other places than ours
    assert found.reference_perplexity == pytest.approx(reference_perplexity, rel=1e-3)
    assert found.perplexity == pytest.approx(perplexity, rel=1e-2)
    assert found.kl_divergence == pytest.approx(divergence, rel=2e-2)
    assert found.top1_agreement == pytest.approx(agreement, abs=0.02)
    assert found.kl_divergence > 0
    names = [name for name, _, _ in watch.phases]
    in_turn = ["load", "evaluate reference", "load", "evaluate"]
    assert names == (["load", "load", "evaluate"] if beside else in_turn)
    assert (watch.phases[-1][1], watch.phases[-1][2]) == (count, "tokens")
    assert watch.told[-1][1] == count
    assert f"perplexity {found.perplexity:.3f}" in watch.told[-1][2]


def test_a_model_against_itself_loses_nothing(folders):
    source, _, _ = folders
    found = evaluate(source, source, TEXT, window=16, watch=SilentWatch())
    assert found.kl_divergence == 0
    assert found.top1_agreement == 1
    assert found.perplexity == found.reference_perplexity


def test_max_tokens_bounds_the_text(folders):
    source, _, _ = folders
    found = evaluate(source, source, TEXT, window=16, max_tokens=40, watch=SilentWatch())
    assert found.tokens == 40 - 1  # all but the first, which nothing predicts


def test_too_short_a_text_is_refused(folders):
    source, _, _ = folders
    with pytest.raises(UsageError, match="too few"):
        evaluate(source, source, "", watch=SilentWatch())


def test_too_long_a_window_is_refused(folders):
    source, _, _ = folders
    with pytest.raises(UsageError, match="window of 512"):
        evaluate(source, source, TEXT, window=512, watch=SilentWatch())


def test_another_vocabulary_is_refused(folders, tmp_path):
    source, _, _ = folders
    save_llama(tmp_path, vocab_size=400)
    write_tokenizer(tmp_path)
    with pytest.raises(UsageError, match="vocabularies of 400 and 384"):
        evaluate(tmp_path, source, TEXT, window=32, watch=SilentWatch())


def test_another_tokenizer_is_refused(folders, tmp_path):
    source, packed, _ = folders
    copy = tmp_path / "copy"
    shutil.copytree(packed, copy)
    write_tokenizer(copy, start=True)
    with pytest.raises(UsageError, match="different tokens"):
        evaluate(copy, source, TEXT, window=32, watch=SilentWatch())


@pytest.mark.parametrize("beside", [False, True])
def test_nan_is_named_with_the_model(folders, tmp_path, monkeypatch, beside):
    source, _, plain = folders
    if beside:
        monkeypatch.setattr(scoring, "COMFORTABLE_BYTES", 0)
    copy = tmp_path / "copy"
    shutil.copytree(plain, copy)

    def change(tensors):
        tensors["model.norm.weight"][0] = float("nan")

    edit_tensors(copy, change)
    with pytest.raises(OperatorError, match=r"copy is not a number \(NaN\)"):
        evaluate(copy, source, TEXT, window=32, watch=SilentWatch())


def test_a_cancel_ends_it_between_two_windows_and_leaves_no_file(folders, home, monkeypatch):
    source, packed, _ = folders
    monkeypatch.setattr(scoring, "BATCH_BYTES", 1)  # one window at a time

    class Impatient(Listening):
        def checkpoint(self):
            if self.told and self.told[-1][0] == "evaluate":
                raise Cancelled

    with pytest.raises(Cancelled):
        evaluate(packed, source, TEXT, window=16, watch=Impatient())
    assert [file for file in home.rglob("*") if file.is_file()] == []
