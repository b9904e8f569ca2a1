"""The plan before the weights are read."""

import subprocess
import sys

import pytest

from fqconsole.errors import UsageError
from quantizer import base_plan, plan_bits_per_weight, predicted_bytes
from quantizer.parts import plan_parts
from quantizer.plan import model_bits_per_weight, plan_fingerprint, quantized_share
from tests.quantizer.synthetic_models import describe, fused_moe_tensors, moe_config, save_llama, save_model


@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, 64), (3, 64)])
def test_adaptive_begins_at_the_base_of_the_bits(sharded_llama, bits, group):
    plan = base_plan(sharded_llama, bits)
    assert {m.scheme.group_size for m in plan.matrices} == {group}
    assert plan.group_size == group


@pytest.mark.parametrize("group", [None, 256, 128, 64, 32, 16])
def test_fixed_takes_the_largest_group_that_divides(sharded_llama, group):
    plan = base_plan(sharded_llama, 4, "fixed", group)
    found = {m.shape[-1]: m.scheme.group_size for m in plan.matrices}
    assert found[64] == (None if group is None else min(group, 64))
    assert found[128] == (None if group is None else min(group, 128))


def test_experts_share_one_group_though_their_rows_differ(tmp_path):
    config = moe_config(hidden=64, inner=32)
    save_model(tmp_path / "moe", fused_moe_tensors(hidden=64, inner=32), config)
    plan = base_plan(describe(tmp_path / "moe"), 4, "fixed", 64)
    experts = {m.scheme.group_size for m in plan.matrices if m.fused_set == "experts"}
    assert experts == {32}


def test_matrix_granularity_lets_every_matrix_decide_alone(sharded_llama):
    plan = base_plan(sharded_llama, 4, "matrix")
    assert len({m.fused_set for m in plan.matrices}) == len(plan.matrices)


def test_predicted_bytes_are_what_the_output_files_hold(sharded_llama):
    plan = base_plan(sharded_llama, 3, "fixed", 32)
    parts = plan_parts(sharded_llama, plan)
    stored = sum(t.bytes for part in parts for t in part.tensors if t.name.endswith(("_packed", "_scale")))
    assert predicted_bytes(plan) == stored
    weights = sum(m.weights for m in plan.matrices)
    assert plan_bits_per_weight(plan) == pytest.approx(stored * 8 / weights)
    assert 3.5 <= plan_bits_per_weight(plan) < model_bits_per_weight(plan) < 16
    assert 0 < quantized_share(plan) < 1


def test_a_model_without_matrices_gives_an_empty_plan(tmp_path):
    def only_embeddings(tensors):
        for name in [name for name in tensors if ".layers." in name]:
            del tensors[name]

    plan = base_plan(save_llama(tmp_path / "m", edit=only_embeddings), 4)
    assert plan.matrices == ()
    assert predicted_bytes(plan) == 0
    assert plan_bits_per_weight(plan) == 0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"bits": 5}, "no 5-bit scheme"),
        ({"bits": 4, "group_size": 48}, "no group size 48"),
        ({"bits": 4, "granularity": "row"}, "no granularity 'row'"),
    ],
)
def test_schemes_that_do_not_exist_are_usage_errors(sharded_llama, asked, words):
    with pytest.raises(UsageError, match=words):
        base_plan(sharded_llama, **asked)


def test_the_fingerprint_tells_plans_apart(sharded_llama):
    assert plan_fingerprint(base_plan(sharded_llama, 4)) == plan_fingerprint(base_plan(sharded_llama, 4))
    assert plan_fingerprint(base_plan(sharded_llama, 4)) != plan_fingerprint(base_plan(sharded_llama, 3))


def test_planning_loads_no_torch():
    code = "import sys, quantizer, quantizer.checkpoint, quantizer.manifest; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
