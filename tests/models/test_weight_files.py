"""Folders as they really lie: sharded, incomplete, pickled, hostile."""

import json

import pytest

from fqconsole.models import ModelError, describe_folder
from tests.models.checkpoints import llama_shapes, safetensors_bytes, write_model


def described(folder):
    return describe_folder(folder, id="m", source="folder")


@pytest.mark.parametrize("shards", [1, 4])
def test_shards_make_one_model(tmp_path, shards):
    model = described(write_model(tmp_path / "m", shards=shards))
    assert {tensor.name: tensor.shape for tensor in model.tensors} == {
        name: tuple(shape) for name, (_, shape) in llama_shapes().items()
    }
    assert len({tensor.file for tensor in model.tensors}) == shards


def test_numbered_shards_need_no_index(tmp_path):
    folder = write_model(tmp_path / "m", shards=3)
    (folder / "model.safetensors.index.json").unlink()
    assert len(described(folder).tensors) == len(llama_shapes())
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelError, match=r"1 of 3 .* missing \(model-00002-of-00003\.safetensors\)"):
        described(folder)


def test_a_missing_shard_is_named(tmp_path):
    folder = write_model(tmp_path / "m", shards=5)
    (folder / "model-00002-of-00005.safetensors").unlink()
    (folder / "model-00004-of-00005.safetensors").unlink()
    with pytest.raises(ModelError, match="incomplete: 2 of 5") as caught:
        described(folder)
    assert "model-00002-of-00005.safetensors, model-00004-of-00005.safetensors" in caught.value.what


def test_a_truncated_shard_is_named_with_its_tensor(tmp_path):
    folder = write_model(tmp_path / "m", shards=2)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors is truncated: tensor \S+"):
        described(folder)


def test_the_index_and_the_shards_must_agree(tmp_path):
    folder = write_model(tmp_path / "m", shards=2)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.ghost.weight"] = "model-00001-of-00002.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"model\.ghost\.weight"):
        described(folder)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/secret.safetensors", "a\\..\\b.safetensors"])
def test_an_index_that_leaves_the_folder_is_refused(tmp_path, name):
    folder = write_model(tmp_path / "m", shards=2)
    index = {"weight_map": {"model.norm.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="outside the folder"):
        described(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 1}}'])
def test_a_broken_index(tmp_path, content):
    folder = write_model(tmp_path / "m", shards=2)
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match="weight_map"):
        described(folder)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("pytorch_model.bin", "pickle files"),
        ("consolidated.00.pth", "pickle files"),
        ("model.gguf", "GGUF"),
        ("notes.txt", "no safetensors files"),
        ("training_args.bin", "no safetensors files"),
    ],
)
def test_other_formats_are_refused_unread(tmp_path, file, says):
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / file).write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=says) as caught:
        described(folder)
    assert "safetensors" in caught.value.next_step or "folder" in caught.value.next_step


def test_an_index_of_pickles(tmp_path):
    folder = write_model(tmp_path / "m", shards=2)
    index = {"weight_map": {"model.norm.weight": "pytorch_model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="no safetensors file"):
        described(folder)


def test_loose_files_are_not_guessed_at(tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    assert described(folder).layers == 2
    (folder / "adapter.safetensors").write_bytes(safetensors_bytes({"x": ("F32", (1,))}))
    with pytest.raises(ModelError, match="2 safetensors files"):
        described(folder)


def test_a_tensor_in_two_files(tmp_path):
    folder = tmp_path / "m"
    write_model(folder, shards=2)
    (folder / "model.safetensors.index.json").unlink()
    double = {"model.norm.weight": ("BF16", (64,))}
    (folder / "model-00001-of-00002.safetensors").write_bytes(safetensors_bytes(double))
    (folder / "model-00002-of-00002.safetensors").write_bytes(safetensors_bytes(double))
    with pytest.raises(ModelError, match=r"model\.norm\.weight is in"):
        described(folder)


def test_an_empty_file_of_tensors(tmp_path):
    folder = write_model(tmp_path / "m", shapes={})
    with pytest.raises(ModelError, match="holds no tensors"):
        described(folder)
