"""The preview of a model that is quantized already, and of one as it will be stored."""

import msgspec
import pytest

from fqconsole.fit import named_gpu, preview
from fqconsole.fit.gpu_layout import lane_bytes
from fqconsole.models import describe, resolve_model
from fqconsole.models.describe import describe_folder
from fqconsole.models.description import QuantizationInfo
from quantizer import base_plan
from quantizer.engine import quantize
from quantizer.scheme import Scheme
from tests.fit.synthetic import GIB, Tensors, described, gpu, llama, packed_model


def test_an_already_quantized_model_has_one_precision_its_own():
    model = packed_model()
    found = preview(model, gpu(GIB), bits=(16, 8), gpu_counts=(1, 2))
    assert [(option.bits, option.gpus) for option in found.options] == [(4, 1), (4, 2)]
    planned = preview(llama(), gpu(GIB), bits=(4,), gpu_counts=(1, 2))
    for stored, option in zip(found.options, planned.options, strict=True):
        assert stored.weights_bytes == option.weights_bytes
    assert found.options[0].terms[0].name == "int4 matrices"


@pytest.mark.parametrize("bits", [2, 5, 6])
def test_a_width_that_is_not_ours_counts_as_it_is_stored(bits):
    model = packed_model(4)
    foreign = QuantizationInfo("compressed-tensors", bits, (64,), made_by_fqconsole=False)
    tensors = tuple(t for t in model.tensors if not t.name.endswith("weight_scale"))
    for kept in (model.tensors, tensors):
        described_so = msgspec.structs.replace(model, quantization=foreign, tensors=kept)
        (option,) = preview(described_so, gpu(GIB), gpu_counts=(1,)).options
        assert option.bits == bits
        assert option.weights_bytes >= option.model_bytes


@pytest.mark.parametrize(("method", "bits"), [("fp8", 8), ("mxfp4", 4), ("fbgemm_fp8", 8)])
def test_numbers_that_are_not_whole_are_not_called_int(method, bits):
    info = QuantizationInfo(method, bits, (), made_by_fqconsole=False)
    plain = llama()
    tensors = tuple(
        msgspec.structs.replace(t, dtype="F8_E4M3") if "_proj" in t.name else t for t in plain.tensors
    )
    model = msgspec.structs.replace(plain, quantization=info, tensors=tensors)
    (option,) = preview(model, gpu(GIB), gpu_counts=(1,)).options
    assert option.terms[0].name == f"{method} matrices"
    assert option.bits == bits


def test_widths_may_differ_within_a_checkpoint():
    """int8 matrices in one that is mostly int4: each has the layout of its width."""
    plain = llama(layers=1, hidden=384, inner=384, heads=4, kv_heads=4)
    tensors = Tensors()
    for tensor in plain.tensors:
        if "_proj" not in tensor.name:
            continue
        bits = 8 if "down" in tensor.name else 4
        stem = tensor.name.removesuffix("weight")
        tensors.dtype = "F32"
        tensors.add(stem + "weight_packed", 384, 384 * bits // 32)
        tensors.dtype = "BF16"
        tensors.add(stem + "weight_scale", 384, 384 // 64)
    info = QuantizationInfo("compressed-tensors", 4, (64,), made_by_fqconsole=True)
    model = described(tensors, plain.attention, quantization=info)
    (option,) = preview(model, gpu(GIB), gpu_counts=(1,)).options
    assert option.weights_bytes == 6 * lane_bytes((384, 384), Scheme(4, 64)) + lane_bytes(
        (384, 384), Scheme(8, 64)
    )


@pytest.mark.parametrize("head", [8, 4])
def test_a_packed_head_is_previewed_as_the_checkpoint_will_have_it(tmp_path, head):
    """Tied to the embedding before: the packed head lies beside it."""
    demo = describe(resolve_model("demo"))
    place = named_gpu("h100-80gb")
    plan = base_plan(demo, 4, "adaptive", head=head)
    quantize(demo, plan, tmp_path / "packed", device="cpu")
    packed = describe_folder(tmp_path / "packed", id="packed", source="folder")
    plain, before = (preview(demo, place, bits=(4,), gpu_counts=(1, 2), head=width) for width in (16, head))
    after = preview(packed, place, gpu_counts=(1, 2))
    for wide, planned, stored in zip(plain.options, before.options, after.options, strict=True):
        assert planned.weights_bytes == stored.weights_bytes > wide.weights_bytes
        assert planned.step_bytes == stored.step_bytes < wide.step_bytes
