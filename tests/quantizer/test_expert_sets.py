"""Routed experts share a scheme over all layers, or in each layer alone: all the way to what reads them."""

import re
from functools import partial

import pytest
import torch

from fqconsole.errors import UsageError
from quantizer import base_plan
from quantizer.analysis import analyse
from quantizer.candidate_errors import measure_candidates
from quantizer.checkpoint import unfinished_plan
from quantizer.config import (
    GUARD_TARGET,
    engine_refusals,
    ignored_modules,
    packing_refusals,
    quantization_config,
    transformers_refusals,
)
from quantizer.engine import quantize
from quantizer.measured import KEPT
from quantizer.methods import MODES
from quantizer.plan_file import plan_text, read_plan_file, schemes_of
from quantizer.planner import Planner
from quantizer.scheme import Scheme
from quantizer.watch import Cancelled
from tests.quantizer.synthetic_models import describe, fused_moe_tensors, moe_config, save_model
from tests.quantizer.watches import CancellingWatch, RecordingWatch


@pytest.fixture
def moe(tmp_path):
    """Two layers of experts, the first with outliers in one half of each group."""
    tensors = fused_moe_tensors(hidden=64, inner=128)
    for name, tensor in tensors.items():
        if name.startswith("model.layers.0.mlp.experts."):
            tensor[..., :32] *= 12
            tensor[..., 64:96] *= 12 if tensor.shape[-1] > 64 else 1
    save_model(tmp_path / "moe", tensors, moe_config(hidden=64, inner=128))
    return describe(tmp_path / "moe")


def experts_of(plan, layer):
    return {m.scheme for m in plan.matrices if m.layer == layer and len(m.shape) == 3}


def with_schemes(planner, schemes):
    """A plan with these schemes for the experts of each layer, int8 for all else."""
    return planner.with_schemes(
        {
            matrix.name: schemes[matrix.layer] if len(matrix.shape) == 3 else Scheme(8, None)
            for matrix in planner.draft.matrices
        },
        "test",
    )


def test_a_set_is_all_layers_or_one_and_nothing_else_changes(moe):
    whole, apart = base_plan(moe, 4), base_plan(moe, 4, experts="layer")
    routed = {m.fused_set for m in apart.matrices if len(m.shape) == 3}
    assert routed == {"model.layers.0.mlp.experts", "model.layers.1.mlp.experts"}
    assert {m.fused_set for m in whole.matrices if len(m.shape) == 3} == {"experts"}
    others = [[m for m in plan.matrices if len(m.shape) == 2] for plan in (whole, apart)]
    assert others[0] == others[1]
    with pytest.raises(UsageError, match="by 'expert'"):
        base_plan(moe, 4, experts="expert")


def test_the_rule_decides_layer_by_layer_where_it_may(moe):
    watch = RecordingWatch()
    whole = analyse(moe, bits=4, methods=MODES["fast"], watch=watch)
    assert experts_of(whole, 0) == experts_of(whole, 1)
    assert any("--experts layer" in text for _, text in watch.logs)
    watch = RecordingWatch()
    apart = analyse(moe, bits=4, methods=MODES["fast"], experts="layer", watch=watch)
    assert (experts_of(apart, 0), experts_of(apart, 1)) == ({Scheme(4, 32)}, {Scheme(4, 64)})
    assert not any("routed experts" in text for _, text in watch.logs)


def test_the_planner_loses_no_more_with_more_freedom(moe):
    measured = measure_candidates(moe, methods=MODES["fast"], device="cpu")
    whole, apart = Planner(moe, measured), Planner(moe, measured, experts="layer")
    for bits in (3.3, 3.8, 4.4, 5.5):
        limit = int(bits * whole.weights / 8)
        held, freed = whole.within_bytes(limit, ""), apart.within_bytes(limit, "")
        assert apart.plan_bytes(freed) <= limit
        assert apart.plan_loss(freed) <= whole.plan_loss(held)
        assert all(len(experts_of(freed, layer)) <= 1 for layer in (0, 1))
        assert freed.experts == "layer"
    for bits, group in ((3, 64), (4, 32), (8, None)):
        rule = base_plan(moe, bits, "fixed", group, methods=MODES["fast"])
        for planner in (whole, apart):
            planned = planner.within_bytes(planner.plan_bytes(rule), "")
            assert planner.plan_loss(planned) <= planner.plan_loss(rule) * (1 + 1e-9)
    assert any(
        experts_of(plan, 0) != experts_of(plan, 1)
        for plan in (apart.within_bits(bits, "") for bits in (3.3, 3.8, 4.4, 5.5))
    )


def test_engines_find_the_scheme_of_each_layer_and_transformers_none(moe):
    planner = Planner(moe, measure_candidates(moe, methods=MODES["fast"], device="cpu"), experts="layer")
    plan = with_schemes(planner, {0: Scheme(4, 32), 1: Scheme(8, 64)})
    config = quantization_config(plan)

    def targets_of(name):
        return [
            (group["weights"]["num_bits"], group["weights"]["group_size"])
            for group in config["config_groups"].values()
            for target in group["targets"]
            if target == name or (target.startswith("re:") and re.match(target[3:], name))
        ]

    for kind in ("gate_proj", "up_proj", "down_proj"):
        assert targets_of(f"model.layers.0.mlp.experts.2.{kind}") == [(4, 32)]
        assert targets_of(f"model.layers.1.mlp.experts.0.{kind}") == [(8, 64)]
    # transformers takes the first group that has a pattern with "experts" in it, whatever it matches.
    assert config["config_groups"]["group_0"]["targets"] == [GUARD_TARGET]
    assert "experts" in GUARD_TARGET
    assert engine_refusals(moe, plan) == packing_refusals(plan) == []
    assert transformers_refusals(plan) == ["the routed experts have 4/32 and 8/64"]
    alike = quantization_config(with_schemes(planner, {0: Scheme(4, 32), 1: Scheme(4, 32)}))
    assert GUARD_TARGET not in str(alike)


def test_experts_that_stay_in_16_bits_are_named_for_engines(moe):
    planner = Planner(moe, measure_candidates(moe, methods=MODES["fast"], device="cpu"), experts="layer")
    plan = with_schemes(planner, {0: KEPT, 1: Scheme(4, 64)})
    (pattern,) = [name for name in ignored_modules(plan) if name.startswith("re:")]
    assert re.match(pattern[3:], "model.layers.0.mlp.experts.2.gate_proj")
    assert not re.match(pattern[3:], "model.layers.1.mlp.experts.2.gate_proj")
    assert transformers_refusals(plan) == ["the routed experts have 4/64 and 16 bits"]


def test_a_plan_file_keeps_it_and_says_what_would_be_needed(moe, tmp_path):
    measured = measure_candidates(moe, methods=MODES["fast"], device="cpu")
    planner = Planner(moe, measured, experts="layer")
    plan = with_schemes(planner, {0: Scheme(4, 32), 1: Scheme(8, 64)})
    file = tmp_path / "plan.toml"
    file.write_text(plan_text(planner, plan, "fast"))
    found = read_plan_file(file)
    assert found.experts == "layer"
    assert planner.with_schemes(schemes_of(found, planner.draft.matrices), "test") == plan
    file.write_text(file.read_text().replace('experts = "layer"', 'experts = "model"'))
    with pytest.raises(UsageError, match="one scheme for the experts of all layers") as refused:
        schemes_of(read_plan_file(file), Planner(moe, measured).draft.matrices)
    assert 'experts = "layer"' in refused.value.next_step
    file.write_text(file.read_text().replace('experts = "model"', 'experts = "some"'))
    with pytest.raises(UsageError, match="by 'some'"):
        read_plan_file(file)


def test_an_unfinished_run_is_gone_on_with_by_its_own_sets_alone(moe, tmp_path):
    plan = analyse(moe, bits=4, methods=MODES["fast"], experts="layer")
    with pytest.raises(Cancelled):
        quantize(moe, plan, tmp_path / "out", device="cpu", part_bytes=20_000, watch=CancellingWatch(3))
    asked = partial(base_plan, moe, 4, methods=MODES["fast"])
    assert unfinished_plan(tmp_path / "out", asked(experts="layer")) == plan
    assert unfinished_plan(tmp_path / "out", asked()) is None


def test_sglang_finds_experts_that_have_other_names(tmp_path):
    """It asks for gate_proj, up_proj and down_proj of expert 0, whatever they are called."""
    place = "model.layers.0.block_sparse_moe.experts"
    tensors = {
        f"{place}.{index}.{kind}.weight": torch.zeros(64, 64)
        for index in range(2)
        for kind in ("w1", "w2", "w3")
    }
    save_model(tmp_path / "mixtral", tensors, moe_config())
    config = quantization_config(base_plan(describe(tmp_path / "mixtral"), 4))
    (pattern,) = config["config_groups"]["group_0"]["targets"]
    for kind in ("w1", "w3", "gate_proj", "down_proj"):
        assert re.match(pattern[3:], f"{place}.0.{kind}")
    assert not re.match(pattern[3:], "model.layers.0.block_sparse_moe.gate")
