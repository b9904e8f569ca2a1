"""Links where files are expected: out of a model's folder, to nothing, to themselves, onto another's file."""

import json
import os
import shutil

import pytest

from fqconsole import paths
from fqconsole.cli import main
from fqconsole.demo import materialize
from store import Store


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(materialize("demo"), folder)
    return folder


def test_weights_may_be_links_as_in_the_hubs_cache(model, tmp_path, capfd):
    blob = tmp_path / "blobs" / "a"
    blob.parent.mkdir()
    (model / "model.safetensors").rename(blob)
    (model / "model.safetensors").symlink_to(blob)
    assert main(["models", "show", str(model)]) == 0
    capfd.readouterr()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("target", ["/dev/zero", "nowhere", "self", "folder", "pipe"])
def test_links_to_what_is_no_file_are_refused(model, tmp_path, name, target, capfd):
    place = model / name
    place.unlink()
    if target == "pipe":
        os.mkfifo(place)
    else:
        (tmp_path / "folder").mkdir()
        place.symlink_to({"self": place, "folder": tmp_path / "folder"}.get(target, target))
    assert main(["models", "show", str(model)]) == 2
    printed = capfd.readouterr().err
    assert "no config.json" in printed or "no safetensors" in printed


@pytest.mark.parametrize("name", ["/etc/passwd.safetensors", "../w.safetensors", "a/../../w.safetensors"])
def test_an_index_names_no_file_outside_its_folder(model, name, capfd):
    index = {"weight_map": {"lm_head.weight": name}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert main(["models", "show", str(model)]) == 2
    assert "outside the folder" in capfd.readouterr().err


@pytest.fixture
def links(tmp_path):
    """Links of each kind; `others` is what they must not touch."""
    others = tmp_path / "others"
    others.mkdir()
    (others / "file").write_text("mine")
    targets = {
        "dangling": tmp_path / "nowhere",
        "loop": tmp_path / "loop",
        "to a file": others / "file",
        "to a folder": others,
    }
    for name, target in targets.items():
        (tmp_path / name).symlink_to(target)
    yield {name: tmp_path / name for name in targets}
    assert {path.name: path.read_text() for path in others.iterdir()} == {"file": "mine"}
    assert not (tmp_path / "nowhere").exists()


def test_a_checkpoint_is_written_through_no_link(links, capfd):
    for out in links.values():
        assert main(["quantize", "demo", "--mode", "fast", "--quiet", "--out", str(out)]) == 2
        assert "exists already" in capfd.readouterr().err


def test_an_export_is_written_through_no_link(links, capfd):
    with Store.open(paths.store_file()) as store:
        run = store.begin_run("generate", "demo", options={}, host={}, pid=1, pid_started=1.0)
        store.finish_run(run, "done")
    for out in links.values():
        assert main(["runs", "export", run, "--format", "json", "--out", str(out)]) == 2
        assert "exists already" in capfd.readouterr().err
    forced = ["runs", "export", run, "--format", "json", "--force", "--out"]
    assert main([*forced, str(links["loop"])]) == 1
    assert "can't be written" in capfd.readouterr().err
