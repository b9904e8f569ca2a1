"""Channels balanced without data: what is chosen, what is written, and what it is worth."""

from pathlib import Path

import msgspec
import pytest
import torch

from fqconsole.demo import materialize
from fqconsole.models.describe import describe_folder
from quantizer.channels import Channels, changed_tensors, decoded, encoded
from quantizer.checkpoint import find_unfinished
from quantizer.engine import analyse, quantize
from quantizer.manifest import read_manifest
from quantizer.methods import methods_of
from quantizer.reader import open_checkpoint
from quantizer.watch import Cancelled
from tests.quantizer.synthetic_models import describe, llama_config, llama_tensors, save_model, weights_of
from tests.quantizer.test_engine import digest
from tests.quantizer.watches import CancellingWatch, RecordingWatch

NORM = "model.layers.0.input_layernorm.weight"
QUERY = "model.layers.0.self_attn.q_proj"


def save_outliers(folder, *, shards=1):
    """A Llama whose first norm shrinks four channels that its readers enlarge, with a bias on the values."""
    tensors = llama_tensors()
    for kind in "qkv":
        tensors[f"model.layers.0.self_attn.{kind}_proj.weight"][:, [3, 20, 40, 60]] *= 16
    tensors[NORM][[3, 20, 40, 60]] /= 16
    tensors["model.layers.0.self_attn.v_proj.bias"] = torch.linspace(-1, 1, 32).bfloat16()
    save_model(folder, tensors, llama_config() | {"attention_bias": True}, shards=shards)
    return describe(folder)


@pytest.fixture(scope="module")
def outliers(tmp_path_factory):
    return save_outliers(tmp_path_factory.mktemp("outliers") / "m", shards=2)


def error_of_product(folder, description, module):
    """‖x(W-Ŵ)‖ ÷ ‖xW‖ for a normalised x: the norm and the matrix together, whatever lies between them."""
    source = weights_of(Path(description.path))
    with open_checkpoint(folder) as checkpoint:
        found = dict(checkpoint.dequantized(torch.float32))
    x = torch.randn(256, 64, generator=torch.Generator().manual_seed(5))
    before = (x * source[NORM].float()) @ source[f"{module}.weight"].float().T
    after = (x * found[NORM].float()) @ found[f"{module}.weight"].T
    return float((before - after).norm() / before.norm())


def test_balancing_undoes_outliers_that_a_norm_can_take(outliers, tmp_path):
    errors = {}
    for word in ("finequant", "fast", "search", "search+importance", "best"):
        plan = analyse(outliers, bits=4, granularity="fixed", group_size=None, methods=methods_of(word))
        quantize(outliers, plan, tmp_path / word)
        errors[word] = error_of_product(tmp_path / word, outliers, QUERY)
    assert errors["best"] < 0.13
    assert errors["finequant"] > 0.5
    assert errors["search+importance"] < errors["search"] < errors["fast"]


def test_only_what_belongs_to_a_balanced_set_is_written_changed(outliers, tmp_path):
    plan = analyse(outliers, bits=4)
    changed = changed_tensors(plan)
    assert NORM in changed
    assert "model.norm.weight" not in changed
    quantize(outliers, plan, tmp_path / "out")
    source, stored = weights_of(Path(outliers.path)), weights_of(tmp_path / "out")
    for kept in plan.kept:
        assert torch.equal(source[kept.name], stored[kept.name]) == (kept.name not in changed), kept.name
    assert read_manifest(tmp_path / "out").plan == plan


def test_what_the_norm_was_really_divided_by_is_on_the_columns(outliers):
    plan = analyse(outliers, bits=4)
    channels = Channels(Path(outliers.path), outliers, plan)
    norm = weights_of(Path(outliers.path))[NORM]
    new = torch.from_numpy(channels.rewrite(NORM, norm.view(torch.uint8).numpy(), 0)).view(torch.bfloat16)
    factors = channels.columns(QUERY).factors
    assert torch.equal(new.float() * factors, norm.float()) or torch.allclose(
        new.double() * factors.double(), norm.double(), rtol=2**-22
    )


def test_channels_between_two_matrices_are_balanced_but_not_weighted_in_the_search(outliers):
    plan = analyse(outliers, bits=4)
    channels = Channels(Path(outliers.path), outliers, plan)
    of_rows = [held for held in plan.channels if held.of_rows]
    assert of_rows
    assert all(channels.columns(name).importance is None for held in of_rows for name in held.readers)
    assert channels.columns(QUERY).importance is not None


def test_adaptive_groups_are_chosen_after_balancing(outliers):
    def groups(word):
        plan = analyse(outliers, bits=8, group_size=64, methods=methods_of(word))
        return next(m.scheme.group_size for m in plan.matrices if m.name == QUERY)

    assert groups("fast") < groups("best") == 64


def test_nothing_is_balanced_where_it_does_not_pay(tmp_path):
    tensors = llama_tensors(layers=1, hidden=256, inner=512)
    save_model(tmp_path / "m", tensors, llama_config(layers=1, hidden=256, inner=512))
    watch = RecordingWatch()
    plan = analyse(describe(tmp_path / "m"), bits=4, methods=methods_of("best"), watch=watch)
    assert not changed_tensors(plan)
    assert {held.reason for held in plan.channels} == {"balancing hardly lowers the error"}
    (work,) = [total for name, total, _ in watch.phases if name == "balance"]
    assert work > 0


def test_an_unknown_architecture_says_that_nothing_is_balanced(outliers):
    watch = RecordingWatch()
    plan = analyse(msgspec.structs.replace(outliers, model_type="strange"), bits=4, watch=watch)
    assert plan.channels == ()
    assert any("strange is not among the architectures" in text for _, text in watch.logs)


def test_a_resumed_run_of_a_balanced_plan_ends_with_the_same_bytes(outliers, tmp_path):
    plan = analyse(outliers, bits=4)
    assert changed_tensors(plan)
    quantize(outliers, plan, tmp_path / "whole", part_bytes=20_000)
    with pytest.raises(Cancelled):
        quantize(outliers, plan, tmp_path / "out", part_bytes=20_000, watch=CancellingWatch(7))
    unfinished = find_unfinished(tmp_path / "out")
    assert unfinished.finished_parts >= 1
    quantize(outliers, unfinished.plan, tmp_path / "out", part_bytes=20_000)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def test_factors_survive_their_encoding():
    values = torch.tensor([1.0, 0.5, 16.0, 3.0, 1e9])
    assert decoded(encoded(values)).tolist() == pytest.approx([1, 0.5, 16, 3, 2 ** (127 / 8)], rel=0.05)
    assert decoded(encoded(values, 8)).tolist() == [1, 0.5, 16, 4, 2**15]


@pytest.mark.parametrize("model", ["demo-outliers", "demo-outliers-scattered"])
def test_the_built_in_outliers_come_out_as_small_as_the_plain_model(model):
    plain, outlying = (
        describe_folder(materialize(word), id=word, source="builtin") for word in ("demo", model)
    )
    plans = [analyse(about, bits=4, methods=methods_of("best")) for about in (plain, outlying)]
    assert [m.scheme for m in plans[0].matrices] == [m.scheme for m in plans[1].matrices]
