"""The method's reason for being, on the models that come with fqconsole: measured, not claimed."""

import pytest

from fqconsole.demo import heldout_text, materialize
from fqconsole.evaluation import evaluate
from fqconsole.models import describe, resolve_model
from quantizer.engine import analyse, quantize
from quantizer.methods import methods_of
from quantizer.watch import SilentWatch

TOKENS = 4096


@pytest.fixture(scope="module")
def divergence(tmp_path_factory):
    """`divergence("demo", bits=4)` → the Evaluation of that scheme on held-out stories, made once.

    By the reference mode unless another is asked for.
    """
    base = tmp_path_factory.mktemp("checkpoints")
    found = {}

    def measure(model, *, bits, granularity="adaptive", group_size="default", mode="finequant"):
        key = (model, bits, granularity, group_size, mode)
        if key not in found:
            description = describe(resolve_model(model))
            plan = analyse(
                description,
                bits=bits,
                granularity=granularity,
                group_size=group_size,
                methods=methods_of(mode),
                device="cpu",
            )
            out = base / "-".join(map(str, key))
            quantize(description, plan, out, device="cpu")
            text = heldout_text(60)
            found[key] = evaluate(
                out, materialize(model), text, max_tokens=TOKENS, device="cpu", watch=SilentWatch()
            )
        return found[key]

    return measure


@pytest.mark.slow
@pytest.mark.parametrize("model", ["demo", "demo-moe"])
def test_fewer_bits_lose_more(divergence, model):
    losses = [divergence(model, bits=bits).kl_divergence for bits in (8, 4, 3)]
    assert losses == sorted(losses)
    assert losses[0] < 0.001
    assert losses[1] < 0.01
    assert divergence(model, bits=8).top1_agreement > 0.95
    assert divergence(model, bits=4).reference_perplexity < 3  # the stories are learnt


@pytest.mark.slow
def test_adaptive_groups_bring_back_what_outliers_cost(divergence):
    channel, coarse, fine = (
        divergence("demo-outliers", bits=4, granularity="fixed", group_size=size).kl_divergence
        for size in (None, 64, 32)
    )
    adaptive = divergence("demo-outliers", bits=4).kl_divergence
    assert channel > 1  # ruined
    assert coarse > 5 * fine  # damaged
    assert adaptive < 2 * fine  # cured
    assert adaptive < 2 * divergence("demo", bits=4).kl_divergence


@pytest.mark.slow
def test_scattered_outliers_are_cured_in_part_only(divergence):
    coarse = divergence("demo-outliers-scattered", bits=4, granularity="fixed", group_size=64).kl_divergence
    adaptive = divergence("demo-outliers-scattered", bits=4).kl_divergence
    assert adaptive < coarse / 5
    assert adaptive > 2 * divergence("demo", bits=4).kl_divergence


@pytest.mark.slow
@pytest.mark.parametrize("model", ["demo-outliers", "demo-outliers-scattered"])
def test_mode_best_undoes_outliers_of_both_kinds_at_the_coarsest_groups(divergence, model):
    coarsest = {"bits": 4, "granularity": "fixed", "group_size": None}
    best = divergence(model, **coarsest, mode="best").kl_divergence
    assert best < 1.2 * divergence("demo", **coarsest, mode="best").kl_divergence
    assert best < 0.7 * divergence("demo", **coarsest).kl_divergence
    assert divergence(model, **coarsest).kl_divergence > 1000 * best
