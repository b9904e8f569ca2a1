"""The quantizer's balance kernels against the plain path on the CPU. By `test_interpreter.py`."""

from pathlib import Path

import msgspec
import pytest
import torch

from quantizer import balancing
from quantizer.absorption import find_channels
from quantizer.balance_kernel import candidates_on_gpu, errors_on_gpu
from quantizer.balancing import _balanced, _Chooser, _magnitudes, choose_channels
from quantizer.base import base_plan
from quantizer.channels import absorbed, decoded, importance_of, spread
from quantizer.methods import methods_of
from quantizer.plan import ChannelSet
from quantizer.watch import SilentWatch
from tests.quantizer.measured_rows import measured
from tests.quantizer.synthetic_models import (
    describe,
    fused_moe_tensors,
    llama_config,
    llama_tensors,
    moe_config,
    save_model,
)

CPU = torch.device("cpu")
NORM = ChannelSet("norm", ("m",))
SETS = {
    "norm": NORM,
    "gemma's norm": msgspec.structs.replace(NORM, offset=1.0),
    "norm that a router reads": msgspec.structs.replace(NORM, kept_readers=("router",)),
    "rows": ChannelSet("up", ("down",), of_rows=True),
    "value heads": ChannelSet("v", ("o",), of_rows=True, head=32, repeat=3),
    "values of heads that each query has": ChannelSet("v", ("o",), of_rows=True, head=32),
}


def spread_out(count, seed, octaves=1.5):
    return torch.exp2(torch.randn(count, generator=torch.Generator().manual_seed(seed)) * octaves)


def outlying(tensors):
    """Norms that are not alike, and columns that stand out of the weights."""
    for index, (name, tensor) in enumerate(tensors.items()):
        width = tensor.shape[-1]
        if "norm" in name:
            tensor.mul_(spread_out(width, index, 0.7))
        else:
            tensor[..., index % width :: 29] *= 16
    return tensors


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tensors = outlying(llama_tensors(1, hidden=256, inner=384))
    save_model(folder / "llama", tensors, llama_config(1, hidden=256, inner=384))
    tensors = fused_moe_tensors(hidden=128, inner=64)
    for layer in range(2):
        norms = ("input_layernorm", "post_attention_layernorm")
        tensors |= {f"model.layers.{layer}.{name}.weight": torch.ones(128).bfloat16() for name in norms}
    save_model(folder / "moe", outlying(tensors), moe_config(hidden=128, inner=64))
    return {name: describe(folder / name) for name in ("llama", "moe")}


@pytest.fixture
def through_kernels(monkeypatch):
    """What `choose_channels` then launches; the plain way stays plain."""
    launched = []

    def take(rows, scheme, methods):
        launched.append(tuple(rows.shape))
        return True

    monkeypatch.setattr(balancing, "SAMPLE_ROWS", 7)
    monkeypatch.setattr(balancing, "runs_triton", lambda device: True)
    monkeypatch.setattr(balancing, "takes_kernel", take)
    return launched


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("word", SETS)
def test_candidates(word, dtype):
    held, channels = SETS[word], 1248
    known = spread_out(channels, 1) - held.offset
    known[7:9] = 0
    known = known if held.of_rows else known.to(dtype)
    magnitudes = known if held.of_rows else _magnitudes(known, held)
    rows = torch.randn(40, channels * held.repeat) * spread(spread_out(channels, 2), held)
    right = [held, *_balanced(held, magnitudes, [rows])]
    found = candidates_on_gpu(held, known, balancing._sigma(held, [rows]), balancing._step(held))
    assert held.of_rows or not found.codes[1:].remainder(balancing._step(held)).any()
    told = balancing._with_magnitudes(held, magnitudes).magnitudes
    assert not held.of_rows or found.codes[0].numpy().tobytes() == told
    for place, candidate in enumerate(right):
        assert not place or found.codes[place].numpy().tobytes() == candidate.factors
        factors = decoded(candidate.factors) if held.of_rows else absorbed(known, candidate)[0]
        columns = spread(factors, held).expand(channels * held.repeat)
        assert torch.equal(found.factors[place], columns)
        weights = importance_of(spread(magnitudes / factors, held))
        torch.testing.assert_close(found.weights[place], weights, rtol=3e-7, atol=0)


@pytest.mark.parametrize(
    ("bits", "group_size", "mode"),
    [
        (4, 64, "best"),
        (4, 64, "search+balance"),
        (4, 16, "signed+balance"),
        (4, 32, "absmax+balance"),
        (3, 128, "best"),
        (3, 32, "search+balance"),
        (3, 64, "signed+balance"),
        (8, 64, "best"),
    ],
)
def test_errors(models, through_kernels, bits, group_size, mode):
    description = models["llama"]
    draft = base_plan(description, bits, "fixed", group_size, methods=methods_of(mode))
    compare(description, draft)
    assert through_kernels == [(6, 256), (6, 256), (7, 256), (7, 384)]


@pytest.mark.parametrize("mode", ["search+balance", "best"])
def test_errors_of_a_stack_of_experts(models, through_kernels, mode):
    compare(models["moe"], base_plan(models["moe"], 4, "fixed", 32, methods=methods_of(mode)))
    assert through_kernels


def compare(description, draft):
    found = find_channels(description, draft.matrices, draft.kept)
    chooser = _Chooser(Path(description.path), description, draft, found)
    chooser.learn(measured(chooser.row_norms(CPU), CPU))
    for held in found:
        read = chooser.read(held)
        known = chooser._norms[held.producer] if read.norm is None else _magnitudes(read.norm, held)
        candidates, errors = chooser._try_on_gpu(held, read, known, CPU)
        right, right_errors = chooser._try(held, read, known)
        assert candidates == right
        assert errors == pytest.approx(right_errors, rel=1e-6)


@pytest.mark.parametrize("model", ["llama", "moe"])
def test_what_is_chosen_is_what_the_plain_way_chooses(models, through_kernels, model, monkeypatch):
    description = models[model]
    draft = base_plan(description, 4, "fixed", 32)
    found = choose_channels(Path(description.path), description, draft, [CPU], SilentWatch())
    assert len(through_kernels) == len(found)
    assert any(held.factors for held in found)
    monkeypatch.setattr(balancing, "runs_triton", lambda device: False)
    assert found == choose_channels(Path(description.path), description, draft, [CPU], SilentWatch())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, which does the sums here
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_what_is_not_like_weights_is_left_to_the_plain_way(value):
    rows = torch.randn(3, 256)
    rows[1, 100] = value
    made = candidates_on_gpu(NORM, torch.ones(256), torch.ones(256), 1)
    arguments = (rows, [1, 2], made, 4, 64, "search", torch.bfloat16)
    assert errors_on_gpu(*arguments, weighing=False) is None
    rows[1, 100] = 1
    assert len(errors_on_gpu(*arguments, weighing=False)) == 4


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_norm_that_is_not_finite_is_left_to_the_plain_way(value):
    norm = torch.ones(256)
    norm[3] = value
    made = candidates_on_gpu(NORM, norm, torch.ones(256), 1)
    assert (
        errors_on_gpu(torch.randn(3, 256), [3], made, 4, 64, "search", torch.bfloat16, weighing=True) is None
    )
