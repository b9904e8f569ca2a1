"""The peers' adapters as far as they go without a GPU: their forms of our weights, and their absence."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from benchmarks.kernels.layers import MAIN, Scheme
from benchmarks.kernels.peers import PEERS, UnsupportedError
from benchmarks.kernels.peers.gemlite import AUTO, Gemlite
from benchmarks.kernels.peers.humming import Humming
from benchmarks.kernels.peers.torch_core import Int8Pack, TinyGemm
from benchmarks.kernels.points import Record
from benchmarks.kernels.run import open_peers
from benchmarks.kernels.timing import Budget
from benchmarks.kernels.weights import random_weights
from benchmarks.kernels.work import Work
from kernels.packing import pack_codes
from tests.benchmarks.kernel_records import roof


def test_absent_libraries_become_notes(monkeypatch):
    for name in ("gemlite", "humming", "bitsandbytes"):
        monkeypatch.setitem(sys.modules, name, None)
    work = Work(Record({}, roof()), Budget(1.0), (1,), device="cpu")
    found = open_peers(work, list(PEERS), tune=False)
    assert [peer.name for peer in found] == ["tinygemm"]
    notes = "\n".join(work.record.notes)
    assert all(f"{name} is not here" in notes for name in ("gemlite", "humming", "bitsandbytes nf4"))
    assert "torch int8" in notes  # its operator is for the CPU only in a build without CUDA


def test_tinygemm_gets_the_first_code_in_the_upper_half_and_zero_points_of_none(monkeypatch):
    given = {}

    def convert(pairs, tiles):
        given["pairs"], given["tiles"] = pairs, tiles
        return pairs

    monkeypatch.setattr(torch.ops.aten, "_convert_weight_to_int4pack", convert, raising=False)
    weights = random_weights(16, 256, MAIN, torch.bfloat16, "cpu")
    packed = TinyGemm().pack(weights)
    stored = weights.codes.int() + 8
    assert torch.equal(given["pairs"].int() >> 4, stored[:, ::2])
    assert torch.equal(given["pairs"].int() & 15, stored[:, 1::2])
    scales = packed.tensors["scales"]
    assert scales.shape == (2, 16, 2)
    assert torch.equal(scales[..., 0].T, weights.scales) and not scales[..., 1].any()


def test_schemes_that_a_peer_lacks_are_refused():
    for peer, scheme in (
        (TinyGemm(), Scheme(4, None)),
        (TinyGemm(), Scheme(3, 64)),
        (Int8Pack(), Scheme(8, 128)),
        (Int8Pack(), MAIN),
    ):
        with pytest.raises(UnsupportedError):
            peer.pack(random_weights(16, 256, scheme, torch.bfloat16, "cpu"))


def test_torch_int8_multiplies_with_the_scale_of_each_row():
    weights = random_weights(32, 64, Scheme(8, None), torch.bfloat16, "cpu")
    packed = Int8Pack().pack(weights)
    x = torch.randn(4, 64).to(torch.bfloat16)
    expected = x.float() @ weights.dequantize(torch.float32).mT
    assert (packed.multiply(x).float() - expected).norm() / expected.norm() < 1e-2


def test_a_copy_of_a_packed_matrix_shares_no_memory_and_keeps_its_strides():
    weights = random_weights(32, 64, Scheme(8, None), torch.bfloat16, "cpu")
    packed = Int8Pack().pack(weights)
    copy = packed.copy()
    assert copy.bytes == packed.bytes == 32 * 64 + 32 * 2
    for name, tensor in packed.tensors.items():
        assert copy.tensors[name].data_ptr() != tensor.data_ptr()
        assert copy.tensors[name].stride() == tensor.stride()


def test_humming_packs_in_parts_as_a_whole(monkeypatch):
    peer = Humming()
    # Its words are those of a row of codes without sign, one row after the other.
    peer.ops = SimpleNamespace(
        pack_weight=lambda stored, bits: pack_codes((stored - (1 << (bits - 1))).to(torch.int8), bits)
    )
    monkeypatch.setattr("benchmarks.kernels.peers.humming.CODES_AT_ONCE", 64 * 5)
    for experts in (None, 3):
        weights = random_weights(12, 64, Scheme(3, 64), torch.float16, "cpu", experts=experts)
        assert torch.equal(peer.words(weights), pack_codes(weights.codes, 3))


def test_humming_takes_the_entry_of_its_rule_for_the_rows():
    peer = Humming()
    peer.rule = lambda config, gemm_type: [(0, 8, f"{gemm_type} few"), (8, 16, "some")]
    layer = SimpleNamespace(humming_config=None)
    assert [peer.tuning(layer, m) for m in (1, 8, 9)] == ["dense few", "dense few", "some"]
    with pytest.raises(UnsupportedError, match="17 rows"):
        peer.tuning(layer, 17)


def gemlite_with(known: dict[str, set[str]]) -> Gemlite:
    peer = Gemlite()
    peer.elements = 8
    peer.core = SimpleNamespace(
        DType=SimpleNamespace(FP16=SimpleNamespace(value=1)),
        utils=SimpleNamespace(get_closest_m=lambda rows: rows),
        get_matmul_type=lambda rows, bits: "GEMV_REVSPLITK" if rows <= 4 else "GEMM_SPLITK",
        GEMLITE_MATMUL_TYPES_MAPPING={"GEMM_SPLITK": 3},
        GEMLITE_TRITON_CONFIG_CACHE=known,
    )
    peer.known = {(kernel, signature) for kernel, entries in known.items() for signature in entries}
    return peer


def test_gemlite_runs_only_with_shipped_configurations_unless_it_may_tune():
    weights = random_weights(16, 256, MAIN, torch.float16, "cpu")
    keys = {m: f"({m}, 16, 256, 128, 8, 104)" for m in (1, 2, 8)}
    peer = gemlite_with({"GEMV_REVSPLITK": {keys[1]}, "GEMM_SPLITK": {keys[2], keys[8]}})
    assert peer.signature(weights, 2) == keys[2]
    assert [peer.kernel_number(weights, m) for m in (1, 2, 8)] == [AUTO, 3, AUTO]
    for m in (1, 2, 8):
        peer.check_rows(weights, m)
    with pytest.raises(UnsupportedError, match="--tune-peers"):
        peer.check_rows(weights, 64)
    peer.tune = True
    peer.check_rows(weights, 64)


def test_bitsandbytes_without_a_fused_product_is_refused(monkeypatch):
    module = ModuleType("bitsandbytes")
    module.__version__ = "0.1"
    module.functional = ModuleType("bitsandbytes.functional")
    module.functional.quantize_4bit = lambda dense, **_: (dense, SimpleNamespace(absmax=dense))
    module.functional.dequantize_4bit = lambda codes, state: codes
    monkeypatch.setitem(sys.modules, "bitsandbytes", module)
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", module.functional)
    peer = PEERS["bitsandbytes nf4"]()
    assert peer.open() == "bitsandbytes 0.1"
    if hasattr(torch.ops.bitsandbytes, "gemm_4bit"):
        pytest.skip("the real bitsandbytes was imported before")
    with pytest.raises(UnsupportedError, match="fused 4-bit"):
        peer.pack(random_weights(16, 256, MAIN, torch.float16, "cpu"))
