"""The list of models, and finding one by what was typed."""

import json
import subprocess
import sys
import time

import pytest

from fqconsole import paths
from fqconsole.errors import UsageError
from fqconsole.models import ModelError, describe, list_models, resolve_model
from fqconsole.models.hub_cache import cache_folder
from tests.models.checkpoints import LLAMA, llama_shapes, write_model

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


def cached(model_id, fill, commit=COMMIT, ref="main"):
    """A model in the Hugging Face cache; `fill` writes its snapshot."""
    repo = cache_folder() / f"models--{model_id.replace('/', '--')}"
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir(exist_ok=True)
    (repo / "refs").mkdir(exist_ok=True)
    if ref:
        (repo / "refs" / ref).write_text(commit)
    fill(snapshot)
    return snapshot


def test_built_in_models_come_first_and_can_be_described():
    first = list_models()[0]
    assert (first.id, first.source, first.problem) == ("demo", "builtin", None)
    model = describe(first)
    assert model.source == "builtin"
    assert model.path
    assert model.suggested_prompt
    assert resolve_model("demo").path == model.path


def test_folders_hold_models_one_or_two_levels_down(tmp_path):
    write_model(tmp_path / "plain")
    write_model(tmp_path / "org" / "name")
    write_model(tmp_path / ".hidden")
    write_model(tmp_path / "half.partial-r0007")
    write_model(paths.checkpoints_dir() / "demo-int4")
    (tmp_path / "empty").mkdir()
    found = [entry for entry in list_models([tmp_path, tmp_path / "plain"]) if entry.source == "folder"]
    assert [entry.path for entry in found] == [
        str(tmp_path / "org" / "name"),
        str(tmp_path / "plain"),
        str(paths.checkpoints_dir() / "demo-int4"),
    ]
    assert all(entry.id == entry.path and entry.problem is None for entry in found)


def test_a_folder_that_can_not_be_used_is_listed_with_its_problem(tmp_path):
    folder = write_model(tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (entry,) = [entry for entry in list_models([tmp_path]) if entry.source == "folder"]
    assert entry.problem is not None
    assert "pickle" in entry.problem
    with pytest.raises(ModelError, match="pickle"):
        describe(entry)


def test_missing_folders_are_no_trouble(tmp_path):
    assert [
        e for e in list_models([tmp_path / "nowhere"], include_cache=False) if e.source != "builtin"
    ] == []


def test_the_cache(tmp_path):
    whole = cached("org/Whole", write_model)
    cached("org/older", write_model, commit="1" * 40, ref="")
    cached("org/tokenizer-only", lambda folder: (folder / "tokenizer.json").write_text("{}"))
    cached("org/pickled", lambda folder: (folder / "config.json").write_text(json.dumps(LLAMA)))
    entries = {entry.id: entry for entry in list_models() if entry.source == "cache"}
    assert list(entries) == ["org/older", "org/pickled", "org/Whole"]
    assert (entries["org/Whole"].path, entries["org/Whole"].revision) == (str(whole.resolve()), COMMIT)
    assert entries["org/Whole"].problem is None
    assert "no safetensors files" in (entries["org/pickled"].problem or "")
    assert describe(resolve_model("org/Whole")).layers == 2
    assert [e for e in list_models(include_cache=False) if e.source == "cache"] == []


def test_incomplete_and_damaged_copies_are_listed_as_such():
    def half(folder):
        write_model(folder, shards=3)
        (folder / "model-00002-of-00003.safetensors").unlink()

    def dangling(folder):
        write_model(folder)
        (folder / "tokenizer.json").symlink_to("../../blobs/gone")

    cached("org/half", half)
    cached("org/dangling", dangling)
    (cache_folder() / "models--org--begun" / "blobs").mkdir(parents=True)
    (cache_folder() / "models--org--no-snapshot" / "snapshots").mkdir(parents=True)
    (cache_folder() / "stray-file").write_text("x")
    entries = {entry.id: entry.problem for entry in list_models() if entry.source == "cache"}
    assert "1 of 3 weight files" in entries["org/half"]
    assert "damaged" in entries["org/dangling"]
    assert "interrupted" in entries["org/begun"]
    assert entries["org/no-snapshot"]
    for model_id in entries:
        with pytest.raises(ModelError):
            describe(resolve_model(model_id))


def test_main_goes_before_other_revisions():
    cached(
        "org/two",
        lambda folder: write_model(folder, {**LLAMA, "max_position_embeddings": 7}),
        commit="a" * 40,
    )
    cached("org/two", write_model, commit="b" * 40, ref="refs-pr-1")
    assert resolve_model("org/two").revision == "a" * 40


def test_a_folder_or_a_checkpoint_by_its_name(tmp_path):
    write_model(tmp_path / "m")
    assert resolve_model(str(tmp_path / "m")).source == "folder"
    write_model(paths.checkpoints_dir() / "demo-int4")
    assert resolve_model("demo-int4").path == str(paths.checkpoints_dir() / "demo-int4")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("dmeo", "Did you mean demo"),
        ("qwen3-8b", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8b", "Qwen/Qwen3-8B"),
        ("Other/Model", "downloaded first"),
        ("", "fqconsole models"),
        ("../nowhere-at-all", "fqconsole models"),
        ("\x1b[31mred", "fqconsole models"),
        ("x" * 5000, "fqconsole models"),
        ("~nobody-of-that-name/m", "fqconsole models"),
        ("a\0b", "fqconsole models"),
    ],
)
def test_an_unknown_name_tells_the_nearest(typed, says):
    cached("Qwen/Qwen3-8B", write_model)
    with pytest.raises(UsageError) as caught:
        resolve_model(typed)
    assert says in caught.value.next_step
    assert caught.value.exit_code == 2
    assert "\x1b" not in str(caught.value)


def test_a_file_of_a_model_names_its_folder(tmp_path):
    write_model(tmp_path / "m")
    assert resolve_model(str(tmp_path / "m" / "model.safetensors")).path == str(tmp_path / "m")


def test_an_empty_folder_says_what_it_lacks(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        describe(resolve_model(str(tmp_path)))


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from fqconsole.models import list_models; list_models();"
        "heavy = ('torch', 'transformers', 'huggingface_hub', 'numpy');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_many_tensors_are_described_quickly(tmp_path):
    shapes = llama_shapes(layers=1000, hidden=8, inner=8)
    folder = write_model(tmp_path / "m", {**LLAMA, "num_hidden_layers": 1000}, shapes)
    start = time.process_time()
    assert len(describe(resolve_model(str(folder))).tensors) == 9003
    assert time.process_time() - start < 2.0
