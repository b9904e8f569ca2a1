"""From a model on disk to a plan: sets that decide together, reasons, refusals."""

import msgspec
import pytest
import torch

from fqconsole.errors import DoesNotFitError, OperatorError, UsageError
from fqconsole.models.description import QuantizationInfo
from quantizer import base_plan
from quantizer.engine import analyse
from quantizer.granularity import measure_ranges
from quantizer.ladder import adaptive_rungs, statistic
from quantizer.methods import MODES
from quantizer.watch import Cancelled
from tests.quantizer.synthetic_models import (
    describe,
    fused_moe_tensors,
    llama_config,
    moe_config,
    save_llama,
    save_model,
)
from tests.quantizer.watches import CancellingWatch, RecordingWatch


def outliers_in(*words, columns=slice(32, 64)):
    """An edit that multiplies a block of input channels by 16 in the matrices with one of these words."""

    def edit(tensors):
        for name, tensor in tensors.items():
            if any(word in name for word in words):
                tensor[..., columns] *= 16

    return edit


def groups(plan, word):
    return {m.scheme.group_size for m in plan.matrices if word in m.name}


def test_without_outliers_the_plan_is_the_base_and_says_so(sharded_llama):
    watch = RecordingWatch()
    plan = analyse(sharded_llama, bits=4, watch=watch)
    assert [m.scheme for m in plan.matrices] == [m.scheme for m in base_plan(sharded_llama, 4).matrices]
    assert ("info", "No outliers found: adaptive equals the base (64) on this model.") in watch.logs
    assert all(m.reason.startswith("no outliers: base 64 kept") for m in plan.matrices)


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_outlier_channels_bring_their_matrices_to_32(tmp_path, bits):
    description = save_llama(tmp_path / "m", edit=outliers_in("layers.1.self_attn.o_proj"))
    plan = analyse(description, bits=bits)
    assert groups(plan, "layers.1.self_attn.o_proj") == {32}
    assert groups(plan, "layers.0.self_attn.o_proj") == {None if bits == 8 else 64}


def test_a_fused_set_decides_together(tmp_path):
    description = save_llama(tmp_path / "m", edit=outliers_in("q_proj", "k_proj", "v_proj"))
    plan = analyse(description, bits=4)
    assert groups(plan, "q_proj") == groups(plan, "k_proj") == groups(plan, "v_proj") == {32}
    reason = next(m.reason for m in plan.matrices if m.kind == "q_proj")
    assert "64 → 32" in reason
    assert "one of 3 that decide together" in reason


def test_one_loud_matrix_of_a_set_can_be_outvoted_but_never_differs(tmp_path):
    description = save_llama(tmp_path / "m", edit=outliers_in("k_proj"))
    together = analyse(description, bits=4)
    assert (
        len(groups(together, "layers.0.self_attn.q_proj") | groups(together, "layers.0.self_attn.k_proj"))
        == 1
    )
    alone = analyse(description, bits=4, granularity="matrix")
    assert groups(alone, "k_proj") == {32}
    assert groups(alone, "q_proj") == {64}


def test_all_routed_experts_share_one_scheme_and_a_layer_that_would_differ_is_told(tmp_path):
    tensors = fused_moe_tensors(hidden=64, inner=128)
    outliers_in("layers.1.mlp.experts")(tensors)
    save_model(tmp_path / "moe", tensors, moe_config(hidden=64, inner=128))
    watch = RecordingWatch()
    plan = analyse(describe(tmp_path / "moe"), bits=4, watch=watch)
    assert len(groups(plan, ".experts.")) == 1
    (warning,) = [text for level, text in watch.logs if level == "warning" and "routed experts" in text]
    assert "layer " in warning


def test_the_statistic_of_a_matrix_is_its_own_whatever_the_mode(tmp_path):
    description = save_llama(tmp_path / "m", shards=2)
    from safetensors.torch import load_file

    weight = {}
    for file in (tmp_path / "m").glob("*.safetensors"):
        weight |= load_file(file)
    for plan in (
        analyse(description, bits=4, methods=MODES["fast"]),
        analyse(description, bits=4, granularity="fixed", group_size=64, methods=MODES["fast"]),
    ):
        for matrix in plan.matrices:
            expected = statistic([measure_ranges(weight[matrix.tensors[0]])], adaptive_rungs(4, 64))
            assert matrix.statistic == pytest.approx(expected, abs=1e-5)


def test_a_threshold_of_one_goes_all_the_way_and_of_zero_nowhere(sharded_llama):
    assert groups(analyse(sharded_llama, bits=4, threshold=1.0), "down_proj") == {32}
    assert groups(analyse(sharded_llama, bits=4, threshold=0.0), "down_proj") == {64}


def test_progress_counts_every_byte_of_every_matrix(sharded_llama):
    watch = RecordingWatch()
    plan = analyse(sharded_llama, bits=4, methods=MODES["fast"], watch=watch)
    total = 2 * sum(m.weights for m in plan.matrices)
    assert watch.phases == [("analyse", total, "B")]
    assert watch.done == sorted(watch.done)
    assert watch.done[-1] == total


def test_weights_that_are_not_finite_stop_the_job_by_name(tmp_path):
    def spoil(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")

    description = save_llama(tmp_path / "m", edit=spoil)
    with pytest.raises(OperatorError, match=r"model\.layers\.1\.mlp\.up_proj.*not finite"):
        analyse(description, bits=4)


def test_a_model_that_is_quantized_already_is_refused(sharded_llama):
    info = QuantizationInfo("compressed-tensors", 4, (64,), True)
    with pytest.raises(UsageError, match=r"quantized already.*16-bit original"):
        analyse(msgspec.structs.replace(sharded_llama, quantization=info), bits=4)


def test_a_model_that_is_not_here_is_refused(sharded_llama):
    with pytest.raises(UsageError, match=r"not on this machine.*Download"):
        analyse(msgspec.structs.replace(sharded_llama, path=None), bits=4)


def test_a_model_with_nothing_to_quantize_is_refused_with_the_reasons(tmp_path):
    tensors = {
        "wte.weight": torch.zeros(96, 64),
        "h.0.attn.experts.input_linear.weight": torch.zeros(4, 64, 192),
    }
    save_model(tmp_path / "gpt2", tensors, llama_config())
    with pytest.raises(UsageError, match=r"no matrix that can be quantized.*another layout"):
        analyse(describe(tmp_path / "gpt2"), bits=4)


def test_a_model_that_stays_mostly_in_16_bits_is_said(tmp_path):
    watch = RecordingWatch()
    analyse(save_llama(tmp_path / "m", vocab=4000), bits=4, watch=watch)
    assert any(level == "warning" and "of the weights are quantized" in text for level, text in watch.logs)


def test_cancel_ends_the_analysis(sharded_llama):
    with pytest.raises(Cancelled):
        analyse(sharded_llama, bits=4, watch=CancellingWatch(0))


@pytest.mark.parametrize("device", ["cuda:99", "mps", "gpu"])
def test_a_device_that_is_not_there_is_a_usage_error(sharded_llama, device):
    with pytest.raises(UsageError, match=device) as caught:
        analyse(sharded_llama, bits=4, device=device)
    assert not isinstance(caught.value, DoesNotFitError)


def test_fp32_and_fp16_models_are_analysed_too(tmp_path):
    for dtype, scales in ((torch.float32, "bfloat16"), (torch.float16, "float16")):
        plan = analyse(save_llama(tmp_path / str(dtype), dtype=dtype), bits=4)
        assert plan.scale_dtype == scales
