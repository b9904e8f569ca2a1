"""From a plan to a checkpoint: what is written, what is said, and what every fault leaves behind."""

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from fqconsole.errors import OperatorError, UsageError
from kernels.packing import unpack_codes
from quantizer import base_plan
from quantizer.checkpoint import find_unfinished, partial_folders
from quantizer.engine import analyse, quantize
from quantizer.manifest import read_manifest
from quantizer.methods import MODES
from quantizer.reader import open_checkpoint
from quantizer.rounding import dequantize, quantize_matrix
from quantizer.source_hashes import SourceHashes
from quantizer.watch import Cancelled
from tests.quantizer.synthetic_models import describe, fused_moe_tensors, moe_config, save_llama, save_model
from tests.quantizer.watches import CancellingWatch, RecordingWatch


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        found |= load_file(file)
    return found


@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, 64), (4, None), (3, 16)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_stored_matrix_is_the_plain_rounding_of_its_source(tmp_path, bits, group, dtype):
    description = save_llama(tmp_path / "m", shards=2, dtype=dtype)
    reference = MODES["finequant"]
    plan = analyse(description, bits=bits, granularity="fixed", group_size=group, methods=reference)
    watch = RecordingWatch()
    summary = quantize(description, plan, tmp_path / "out", watch=watch)
    source, stored = weights(tmp_path / "m"), weights(tmp_path / "out")
    scale_dtype = torch.float16 if dtype == torch.float16 else torch.bfloat16
    for matrix in plan.matrices:
        weight = source[f"{matrix.name}.weight"]
        codes, scales = quantize_matrix(weight, bits, matrix.scheme.group_size, scale_dtype, matrix.name)
        assert torch.equal(unpack_codes(stored[f"{matrix.name}.weight_packed"], bits, weight.shape[1]), codes)
        assert torch.equal(stored[f"{matrix.name}.weight_scale"], scales)
        assert stored[f"{matrix.name}.weight_shape"].tolist() == list(weight.shape)
        result = next(r for r in watch.results if r.matrix == matrix)
        error = (dequantize(codes, scales) - weight.float()).norm() / weight.float().norm()
        assert result.relative_error == pytest.approx(float(error), rel=1e-4)
    for kept in plan.kept:
        assert torch.equal(stored[kept.name], source[kept.name])
    assert summary.bytes == sum(t.numel() * t.element_size() for t in stored.values())
    assert summary.source_bytes == description.bytes
    assert len(watch.results) == len(plan.matrices)
    assert [r.index for r in watch.results] == list(range(len(plan.matrices)))


def test_fused_experts_are_stored_expert_by_expert(tmp_path):
    tensors = fused_moe_tensors(experts=3, hidden=64, inner=32)
    save_model(tmp_path / "moe", tensors, moe_config())
    description = describe(tmp_path / "moe")
    quantize(description, analyse(description, bits=4), tmp_path / "out")
    with open_checkpoint(tmp_path / "out") as checkpoint:
        found = dict(checkpoint.dequantized(torch.float32))
    fused = tensors["model.layers.1.mlp.experts.gate_up_proj"].float()
    for expert in range(3):
        place = f"model.layers.1.mlp.experts.{expert}"
        for kind, rows in (("gate_proj", slice(0, 32)), ("up_proj", slice(32, 64))):
            difference = (found[f"{place}.{kind}.weight"] - fused[expert, rows]).norm() / fused[
                expert, rows
            ].norm()
            assert 0.05 < difference < 0.15


def test_the_folder_holds_what_a_reader_needs_and_no_code(sharded_llama, tmp_path):
    quantize(sharded_llama, analyse(sharded_llama, bits=4), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    shards = {f"model-{index:05d}-of-00004.safetensors" for index in range(1, 5)}
    assert names == shards | {
        "config.json", "model.safetensors.index.json", "fqconsole_manifest.json", "tokenizer.json",
        "generation_config.json", "LICENSE",
    }  # fmt: skip
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["hidden_size"] == 64
    assert config["quantization_config"]["format"] == "pack-quantized"


def test_the_manifest_says_where_it_came_from_and_what_each_matrix_lost(sharded_llama, tmp_path):
    plan = analyse(sharded_llama, bits=4)
    watch = RecordingWatch()
    quantize(sharded_llama, plan, tmp_path / "out", watch=watch)
    manifest = read_manifest(tmp_path / "out")
    assert manifest.plan == plan
    assert {r.name: r.relative_error for r in manifest.matrices} == {
        r.matrix.name: r.relative_error for r in watch.results
    }
    source = Path(sharded_llama.path)
    assert {f.file: f.sha256 for f in manifest.source.files} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in source.glob("*.safetensors")
    }
    written = digest(tmp_path / "out")
    assert all(written[shard.file] == shard.sha256 for shard in manifest.shards)
    assert manifest.refused_by_engines == ()


def test_sums_that_were_begun_before_make_the_same_checkpoint(sharded_llama, tmp_path):
    plan = analyse(sharded_llama, bits=4, device="cpu")
    quantize(sharded_llama, plan, tmp_path / "plain", device="cpu")
    with SourceHashes(Path(sharded_llama.path)) as hashes:
        hashes.begin((tensor.file for tensor in sharded_llama.tensors), [torch.device("cuda", 0)])
        quantize(sharded_llama, plan, tmp_path / "before", device="cpu", hashes=hashes)
    assert digest(tmp_path / "before") == digest(tmp_path / "plain")


def test_mode_matrix_says_that_engines_will_refuse_it(tmp_path):
    def edit(tensors):
        tensors["model.layers.0.self_attn.k_proj.weight"][:, 32:] *= 16

    description = save_llama(tmp_path / "m", edit=edit)
    watch = RecordingWatch()
    quantize(description, analyse(description, bits=4, granularity="matrix"), tmp_path / "out", watch=watch)
    assert any("Serving engines will refuse" in text for _, text in watch.logs)
    assert len(read_manifest(tmp_path / "out").refused_by_engines) == 1


def test_progress_counts_every_source_byte(sharded_llama, tmp_path):
    watch = RecordingWatch()
    quantize(sharded_llama, analyse(sharded_llama, bits=4), tmp_path / "out", watch=watch)
    assert watch.phases == [("quantize", sharded_llama.bytes, "B")]
    assert watch.done == sorted(watch.done)
    assert watch.done[-1] == sharded_llama.bytes


def test_a_second_quantize_into_the_folder_is_refused_before_anything(sharded_llama, tmp_path):
    plan = analyse(sharded_llama, bits=4)
    quantize(sharded_llama, plan, tmp_path / "out")
    before = digest(tmp_path / "out")
    with pytest.raises(UsageError, match="exists already"):
        quantize(sharded_llama, plan, tmp_path / "out")
    assert digest(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_cancel_leaves_finished_parts_and_the_next_run_ends_with_the_same_bytes(sharded_llama, tmp_path):
    plan = analyse(sharded_llama, bits=4)
    quantize(sharded_llama, plan, tmp_path / "whole")
    with pytest.raises(Cancelled):
        quantize(sharded_llama, plan, tmp_path / "out", watch=CancellingWatch(14))
    assert not (tmp_path / "out").exists()
    unfinished = find_unfinished(tmp_path / "out")
    assert unfinished.finished_parts >= 1
    assert unfinished.plan == plan
    watch = RecordingWatch()
    quantize(sharded_llama, unfinished.plan, tmp_path / "out", watch=watch)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    assert [name for name, _, _ in watch.phases] == ["hash", "quantize"]
    assert len(watch.results) == len(plan.matrices)
    assert partial_folders(tmp_path / "out") == []


def test_cancel_before_anything_is_finished_leaves_nothing(sharded_llama, tmp_path):
    plan = analyse(sharded_llama, bits=4)
    with pytest.raises(Cancelled):
        quantize(sharded_llama, plan, tmp_path / "out", watch=CancellingWatch(0))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_in_the_middle_is_a_sentence_and_the_run_can_go_on(
    sharded_llama, tmp_path, monkeypatch
):
    plan = analyse(sharded_llama, bits=4)
    quantize(sharded_llama, plan, tmp_path / "whole")
    real, calls = os.posix_fallocate, []

    def full(*args):
        calls.append(args)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OperatorError, match=r"is full.*start the same quantize again"):
        quantize(sharded_llama, plan, tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    assert find_unfinished(tmp_path / "out").finished_parts == 2
    quantize(sharded_llama, plan, tmp_path / "out")
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def test_too_little_space_is_said_before_anything_is_written(sharded_llama, tmp_path, monkeypatch):
    plan = analyse(sharded_llama, bits=4)
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=10_000))
    with pytest.raises(OperatorError, match="GiB short"):
        quantize(sharded_llama, plan, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lost", [1, 5000])
def test_a_source_that_is_cut_short_after_its_description_is_named(tmp_path, lost):
    description = save_llama(tmp_path / "m")
    plan = base_plan(description, 4)
    file = tmp_path / "m" / "model.safetensors"
    os.truncate(file, file.stat().st_size - lost)
    with pytest.raises(OperatorError, match=r"model\.safetensors is truncated"):
        quantize(description, plan, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_source_that_is_gone_is_named(tmp_path):
    description = save_llama(tmp_path / "m", shards=2)
    plan = base_plan(description, 4)
    (tmp_path / "m" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(OperatorError, match=r"00002-of-00002\.safetensors can't be read"):
        quantize(description, plan, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_empty_plan_and_a_quantized_source_are_refused(sharded_llama, tmp_path):
    plan = base_plan(sharded_llama, 4)
    everything = msgspec.structs.replace(plan, matrices=())
    with pytest.raises(UsageError, match="no matrix"):
        quantize(sharded_llama, everything, tmp_path / "out")
    quantize(sharded_llama, plan, tmp_path / "out")
    again = describe(tmp_path / "out")
    with pytest.raises(UsageError, match="quantized already"):
        quantize(again, plan, tmp_path / "again")


def test_our_checkpoint_describes_itself_as_ours(sharded_llama, tmp_path):
    quantize(sharded_llama, analyse(sharded_llama, bits=3), tmp_path / "out")
    described = describe(tmp_path / "out")
    assert described.quantization.bits == 3
    assert described.quantization.made_by_fqconsole
    assert described.quantization.source_model == sharded_llama.id
    assert described.parameters == sharded_llama.parameters
