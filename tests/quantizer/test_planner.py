"""From what the operator wants to a plan: measuring, predicting, sharing out, and quantizing the result."""

import time
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqconsole.errors import UsageError
from fqconsole.models import describe, resolve_model
from quantizer.candidate_errors import measure_candidates
from quantizer.config import engine_refusals
from quantizer.engine import analyse, quantize
from quantizer.manifest import read_manifest
from quantizer.measured import (
    KEPT,
    MatrixErrors,
    Measured,
    candidate_schemes,
    load_measured,
    load_plan,
    measured_path,
    save_measured,
    save_plan,
    scheme_word,
)
from quantizer.methods import MODES, methods_of
from quantizer.plan import MatrixPlan, predicted_bytes
from quantizer.planner import PLANNED, Planner
from quantizer.scheme import Scheme, bits_per_weight
from quantizer.sensitivity import felt, sensitivities
from quantizer.verification import verify
from tests.quantizer import synthetic_models
from tests.quantizer.synthetic_models import fused_moe_tensors, moe_config, save_llama, save_model, weights_of


def demo():
    return describe(resolve_model("demo"))


@pytest.fixture(scope="module")
def planner():
    description = demo()
    return Planner(description, measure_candidates(description, device="cpu"))


def test_every_candidate_that_divides_k_is_measured_with_the_error_that_the_run_then_has(tmp_path):
    description = save_llama(tmp_path / "model", layers=1, hidden=64, inner=192)
    methods = methods_of("search")
    measured = measure_candidates(description, methods=methods, device="cpu")
    assert set(measured.matrices["model.layers.0.mlp.down_proj"].errors) == {
        f"{bits}/{group}" for bits in (3, 4, 8) for group in ("channel", 64, 32)
    }
    plan = analyse(description, bits=4, granularity="fixed", group_size=32, methods=methods, device="cpu")
    quantize(description, plan, tmp_path / "out", device="cpu")
    for record in read_manifest(tmp_path / "out").matrices:
        predicted = measured.matrices[record.name].errors["4/32"]
        assert predicted == pytest.approx(record.relative_error**2, rel=1e-4)


def test_a_sample_of_a_large_matrix_tells_nearly_what_all_of_it_tells():
    description = demo()
    whole = measure_candidates(description, methods=MODES["fast"], device="cpu")
    part = measure_candidates(description, methods=MODES["fast"], device="cpu", sample_weights=20_000)
    for name, matrix in whole.matrices.items():
        for word, error in matrix.errors.items():
            assert part.matrices[name].errors[word] == pytest.approx(error, rel=0.25), (name, word)


def test_outliers_are_seen_where_nothing_balances_them():
    description = describe(resolve_model("demo-outliers"))
    errors = measure_candidates(description, methods=MODES["finequant"], device="cpu").matrices
    gate = errors["model.layers.0.mlp.gate_proj"].errors
    assert gate["4/64"] > 10 * gate["4/32"]
    even = measure_candidates(demo(), methods=MODES["finequant"], device="cpu").matrices
    assert gate["4/32"] == pytest.approx(even["model.layers.0.mlp.gate_proj"].errors["4/32"], rel=0.05)


def test_a_measurement_is_found_again_until_the_model_or_the_mode_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("FQCONSOLE_HOME", str(tmp_path / "home"))
    description = save_llama(tmp_path / "model", layers=1)
    folder = tmp_path / "model"
    path = measured_path(folder, description, MODES["fast"])
    assert load_measured(path) is None
    save_measured(path, measure_candidates(description, methods=MODES["fast"], device="cpu"))
    assert load_measured(path).matrices
    assert measured_path(folder, description, MODES["best"]) != path
    (folder / "model.safetensors").touch()
    assert measured_path(folder, description, MODES["fast"]) != path
    path.write_bytes(b"{")
    assert load_measured(path) is None


@given(target=st.floats(3.06, 9))
@settings(max_examples=25, deadline=None)
def test_a_size_is_kept_to_and_nearly_used_up(planner, target):
    plan = planner.within_bits(target, "test")
    size = planner.plan_bytes(plan) * 8 / planner.weights
    assert target - 0.02 <= size <= target
    assert engine_refusals(demo(), plan) == []
    assert plan.granularity == "planned"
    total = sum(matrix.predicted_loss for matrix in plan.matrices)
    assert planner.plan_loss(plan) == pytest.approx(total)


def test_no_plan_of_the_rule_is_predicted_to_lose_less_at_its_size(planner):
    for bits in (3, 4, 8):
        rule = analyse(demo(), bits=bits, device="cpu")
        planned = planner.within_bytes(planner.plan_bytes(rule), "as large")
        assert planner.plan_loss(planned) <= planner.plan_loss(rule)
        assert planner.plan_bytes(planned) <= predicted_bytes(rule)


def test_a_loss_is_kept_to_by_the_smallest_plan(planner):
    plan = planner.within_loss(0.01, "loss up to 1 %")
    assert planner.plan_loss(plan) <= 0.01
    smaller = planner.within_bytes(planner.plan_bytes(plan) - 4096, "smaller")
    assert planner.plan_loss(smaller) > 0.0099
    assert planner.within_loss(0, "nothing").matrices == ()


def test_more_bits_never_lose_more(planner):
    losses = [
        planner.plan_loss(planner.within_bits(bits, "")) for bits in (3.1, 3.3, 3.6, 4, 4.5, 5, 6, 8, 12)
    ]
    assert losses == sorted(losses, reverse=True)
    frontier = planner.frontier
    assert [point.bytes for point in frontier] == sorted(point.bytes for point in frontier)
    assert frontier[-1].bits_per_weight == 16
    assert frontier[-1].predicted_loss == pytest.approx(0, abs=1e-12)


def test_a_planner_keeps_to_the_widths_it_may_use(planner):
    """Whatever is asked for; and of these it shares out as well as when it may use all."""
    narrow = Planner(demo(), planner._measured, widths=(8, 4, 16, 4))
    for plan in (narrow.within_bits(4.6, ""), narrow.within_loss(0.004, ""), narrow.within_bits(9, "")):
        assert plan.widths == (4, 8, 16)
        assert {matrix.scheme.bits for matrix in plan.matrices} <= {4, 8}
        free = planner.within_bytes(narrow.plan_bytes(plan), "")
        assert planner.plan_loss(free) <= narrow.plan_loss(plan)
    assert {matrix.scheme.bits for matrix in planner.within_bits(4.6, "").matrices} > {4, 8}
    assert narrow.frontier[0].bits_per_weight > 4 > planner.frontier[0].bits_per_weight
    assert narrow.frontier[-1].bits_per_weight == 16
    assert Planner(demo(), planner._measured, widths=(4,)).frontier[-1].bits_per_weight == 4.5


def test_what_the_widths_do_not_allow_is_refused_with_what_would(planner):
    narrow = Planner(demo(), planner._measured, widths=(4, 8))
    with pytest.raises(UsageError, match="4 bits in whole rows") as refused:
        narrow.within_bits(3.6, "")
    assert refused.value.next_step == "Ask for 4.06 or more, or add 3 to the widths."
    with pytest.raises(UsageError, match=r"in 4,8 bits loses as little as 0% by") as refused:
        narrow.within_loss(0, "")
    asked = float(refused.value.next_step.removeprefix("Ask for ").partition("%")[0]) / 100
    assert refused.value.next_step.endswith(", or add 16 to the widths.")
    assert {matrix.scheme.bits for matrix in narrow.within_loss(asked, "").matrices} == {8}
    for widths, word in (((4, 5), "matrices of 5 bits"), ((16,), "nothing to quantize"), ((), "nothing")):
        with pytest.raises(UsageError, match=word):
            Planner(demo(), planner._measured, widths=widths)


def test_a_head_has_its_own_bits_among_other_widths(planner):
    headed = Planner(demo(), planner._measured, head=8, widths=(4,))
    bits = {matrix.name: matrix.scheme.bits for matrix in headed.within_bits(4.7, "").matrices}
    assert bits.pop("lm_head") == 8
    assert set(bits.values()) == {4}
    with pytest.raises(UsageError, match="loses as little"):  # a packed head loses something
        Planner(demo(), planner._measured, head=8).within_loss(0, "")


@pytest.mark.parametrize(("ask", "word"), [((2.5,), "3.05"), ((0,), "no size"), ((float("nan"),), "no size")])
def test_sizes_that_cannot_be_are_refused_with_what_can(planner, ask, word):
    with pytest.raises(UsageError, match=word):
        planner.within_bits(*ask, "test")


def test_what_is_kept_in_16_bits_is_the_source_bit_for_bit_and_the_rest_is_sound(tmp_path, planner):
    description = demo()
    schemes = planner.schemes(planner.within_bits(4, "4"))
    kept = [name for name in schemes if ".layers.0.self_attn.o_proj" in name or ".layers.1.mlp.down" in name]
    kept += [
        name for name in schemes if ".layers.2." in name and name.endswith(("q_proj", "k_proj", "v_proj"))
    ]
    plan = planner.with_schemes(schemes | dict.fromkeys(kept, KEPT), "by hand")
    assert {tensor.name for tensor in plan.kept if tensor.reason == PLANNED} == {f"{n}.weight" for n in kept}
    quantize(description, plan, tmp_path / "out", device="cpu")
    stored, source = weights_of(tmp_path / "out"), weights_of(Path(description.path))
    for name in kept:
        assert torch.equal(stored[f"{name}.weight"], source[f"{name}.weight"])
    assert verify(tmp_path / "out", every=True, device="cpu").sound


def test_all_experts_share_a_scheme_and_may_stay_in_16_bits(tmp_path):
    description = synthetic_models.describe(save_model(tmp_path / "moe", fused_moe_tensors(), moe_config()))
    measured = measure_candidates(description, methods=MODES["fast"], device="cpu")
    made = Planner(description, measured)
    for plan in (made.within_bits(5, "5"), made.within_loss(1e-9, "next to nothing")):
        schemes = made.schemes(plan)
        assert len({schemes[matrix.name] for matrix in made.sets["experts"]}) == 1
    assert made.plan_bytes(made.within_loss(0, "0")) * 8 == 16 * made.weights


def test_a_plan_is_kept_under_a_name_made_of_what_is_in_it(tmp_path, monkeypatch, planner):
    monkeypatch.setenv("FQCONSOLE_HOME", str(tmp_path))
    plan = planner.within_bits(4, "4")
    assert load_plan(save_plan(plan)) == plan
    assert save_plan(plan) == save_plan(msgspec.structs.replace(plan))
    assert save_plan(planner.within_bits(5, "5")) != save_plan(plan)


def test_a_measurement_of_another_model_is_refused(planner):
    with pytest.raises(UsageError, match="was not measured"):
        Planner(demo(), Measured(model="other", mode="best", matrices={}, channels=()))


def test_a_thousand_matrices_are_planned_within_a_second(tmp_path):
    description = save_llama(tmp_path / "deep", layers=143, hidden=32, inner=32, vocab=8)
    errors = {
        scheme_word(s): 4.0 ** (3 - bits_per_weight((64, 4096), s)) * 0.05 for s in candidate_schemes(4096)
    }
    names = [f"model.layers.{layer}.{kind}" for layer in range(143) for kind in KINDS]
    matrices = {name: MatrixErrors(errors=errors, gain=1.0, input_square=0.1) for name in names}
    measured = Measured(model="deep", mode="fast", matrices=matrices, channels=(), embedding_square=1.0)
    begun = time.process_time()
    made = Planner(description, measured)
    plan = made.within_bits(4.6, "4.6")
    assert time.process_time() - begun < 1
    assert len(made.draft.matrices) == len(names) == 1001
    assert made.plan_bytes(plan) * 8 <= 4.6 * made.weights


KINDS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def matrix(layer, kind, n=8, k=8):
    name = f"model.layers.{layer}.{'self_attn' if kind in 'q_proj k_proj v_proj o_proj' else 'mlp'}.{kind}"
    return MatrixPlan(name, (name + ".weight",), (n, k), layer, kind, name, Scheme(4, None))


def test_shares_sum_to_one_and_follow_what_a_branch_adds_to_the_stream():
    kinds = [word.rpartition(".")[2] for word in KINDS]
    matrices = [matrix(layer, kind) for layer in range(3) for kind in kinds]
    measured = {
        m.name: MatrixErrors(
            {}, gain=100.0 if m.kind == "down_proj" and m.layer == 2 else 1.0, input_square=1.0
        )
        for m in matrices
    }
    shares = sensitivities(matrices, measured, 1.0)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["model.layers.2.mlp.down_proj"] > 10 * shares["model.layers.1.mlp.down_proj"]
    assert shares["model.layers.1.mlp.down_proj"] > shares["model.layers.1.mlp.up_proj"]
    assert shares["model.layers.1.self_attn.v_proj"] > shares["model.layers.1.self_attn.q_proj"]


def test_without_a_known_structure_every_branch_counts_alike():
    matrices = [matrix(layer, kind) for layer in range(2) for kind in ("o_proj", "down_proj")]
    measured = {m.name: MatrixErrors({}, gain=float(m.layer + 1)) for m in matrices}
    shares = sensitivities(matrices, measured, 1.0)
    assert len({round(share, 9) for share in shares.values()}) == 1


def test_small_errors_count_for_what_they_are_and_large_ones_for_more():
    assert felt(0) == 0
    assert felt(0.01) == pytest.approx(0.01, rel=0.01)
    assert felt(0.2) == pytest.approx(0.4)
    assert felt(0.8) > 10 * 0.8
