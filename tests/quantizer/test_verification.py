"""A sound checkpoint is called sound, and each fault is named for what it is."""

import json
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from fqconsole.errors import UsageError
from quantizer.engine import analyse, quantize
from quantizer.journal import WrittenShard
from quantizer.manifest import MANIFEST, manifest_bytes, read_manifest
from quantizer.source import file_sha256
from quantizer.verification import SAMPLE_KEPT, SAMPLE_MATRICES, verify
from tests.quantizer.synthetic_models import (
    describe,
    fused_moe_tensors,
    moe_config,
    save_llama,
    save_model,
)
from tests.quantizer.watches import CancellingWatch, RecordingWatch

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("made")
    description = save_llama(place / "llama", layers=3, shards=2)
    quantize(description, analyse(description, bits=4), place / "out", device="cpu")
    return place


@pytest.fixture
def place(made, tmp_path):
    """A copy of a model and its checkpoint that a test may harm; the manifest names the copied model."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    manifest = read_manifest(tmp_path / "out")
    source = msgspec.structs.replace(manifest.source, path=str(tmp_path / "llama"))
    write_manifest(tmp_path / "out", msgspec.structs.replace(manifest, source=source))
    return tmp_path


def write_manifest(folder: Path, manifest) -> None:
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest))


def flip(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def accept(folder: Path, file: str) -> None:
    """Write the checksum of a changed file into the manifest: only its source can convict it now."""
    manifest = read_manifest(folder)
    written = WrittenShard(file, (folder / file).stat().st_size, file_sha256(folder / file))
    shards = tuple(written if shard.file == file else shard for shard in manifest.shards)
    write_manifest(folder, msgspec.structs.replace(manifest, shards=shards))


def faults(found) -> list[tuple[str, str]]:
    assert found.sound == (not found.faults)
    return [(fault.kind, fault.name) for fault in found.faults]


def test_a_sound_checkpoint_is_sound_by_sample_and_as_a_whole(place):
    watch = RecordingWatch()
    sample = verify(place / "out", device="cpu", seed=1, watch=watch)
    assert faults(sample) == []
    assert (sample.source, sample.files, sample.matrices) == ("unchanged", 2, 21)
    assert len(sample.remade) == len(set(sample.remade)) == SAMPLE_MATRICES + SAMPLE_KEPT
    assert [name for name, _, _ in watch.phases] == ["checksum", "remake"]
    assert watch.done[-1] == watch.phases[-1][1]
    everything = verify(place / "out", every=True, device="cpu")
    assert faults(everything) == []
    assert len(everything.remade) == 21 + 9


@pytest.mark.parametrize("bits", [8, 3])
def test_stacks_of_experts_are_made_again_one_by_one(tmp_path, bits):
    save_model(tmp_path / "moe", fused_moe_tensors(), moe_config())
    description = describe(tmp_path / "moe")
    quantize(description, analyse(description, bits=bits), tmp_path / "out", device="cpu", part_bytes=20_000)
    found = verify(tmp_path / "out", every=True, device="cpu")
    assert faults(found) == []
    assert found.matrices == 2 * (3 * 3 + 3)
    assert "model.layers.1.mlp.experts.2.up_proj" in found.remade


def test_a_flipped_bit_a_cut_and_a_missing_file_are_damage(place):
    out = place / "out"
    flip(out / FIRST)
    (found,) = verify(out, device="cpu").faults
    assert (found.kind, found.name, found.what) == ("damaged", FIRST, "has another checksum")
    os.truncate(out / SECOND, 1000)
    assert faults(verify(out, device="cpu")) == [("damaged", FIRST), ("damaged", SECOND)]
    (out / SECOND).unlink()
    found = verify(out, device="cpu").faults[1]
    assert (found.name, found.what) == (SECOND, "is missing")


def test_a_file_that_nobody_wrote_and_another_config_are_damage(place):
    out = place / "out"
    shutil.copy(out / FIRST, out / "extra.safetensors")
    assert faults(verify(out, device="cpu")) == [("damaged", "extra.safetensors")]
    (out / "extra.safetensors").unlink()
    config = json.loads((out / "config.json").read_text())
    config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = 32
    (out / "config.json").write_text(json.dumps(config))
    assert faults(verify(out, device="cpu")) == [("damaged", "config.json")]


def test_weights_that_do_not_follow_from_the_source_are_named_even_with_a_right_checksum(place):
    out = place / "out"
    flip(out / FIRST)
    accept(out, FIRST)
    (found,) = verify(out, every=True, device="cpu").faults
    assert found.kind == "differs"
    assert found.what.startswith("is not what its source gives")


@pytest.mark.parametrize("every", [False, True])
def test_a_source_that_changed_is_told_from_a_wrong_checkpoint(place, every):
    for file in (FIRST, SECOND):
        data = bytearray((place / "llama" / file).read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        data[start + 1 :: 2] = bytes(byte ^ 1 for byte in data[start + 1 :: 2])  # exponents: every code moves
        (place / "llama" / file).write_bytes(data)
    found = verify(place / "out", every=every, device="cpu")
    assert found.source == "changed"
    assert ("source", FIRST) in faults(found)
    assert (found.faults[0].kind, found.faults[0].what) == ("source", "changed since it was quantized")
    os.truncate(place / "llama" / FIRST, 1000)
    assert faults(verify(place / "out", every=every, device="cpu")) == [("source", FIRST)]


def test_without_its_source_the_checksums_still_count(place):
    (place / "llama").rename(place / "moved")
    found = verify(place / "out", device="cpu")
    assert (found.sound, found.source, found.remade) == (True, "absent", ())
    with pytest.raises(UsageError, match=r"is not at .*llama.*--source DIR"):
        verify(place / "out", every=True, device="cpu")
    assert verify(place / "out", source=place / "moved", device="cpu").source == "unchanged"


def test_what_can_not_be_verified_is_refused(place):
    with pytest.raises(UsageError, match="has no manifest"):
        verify(place / "llama")


def test_a_verification_ends_when_it_is_asked_to(place):
    from quantizer.watch import Cancelled

    with pytest.raises(Cancelled):
        verify(place / "out", device="cpu", watch=CancellingWatch(0))
