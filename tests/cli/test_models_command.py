"""`fqconsole models`: the list, one model, and what is wrong with one."""

import json

import pytest

KEYS = {"id", "path", "source", "architecture", "parameters", "bytes"}


def test_the_built_in_models_are_listed_first(fq):
    found = fq("models", "--json").json["models"]
    assert found[0]["id"] == "demo"
    assert all(set(model) >= KEYS for model in found)
    assert found[0]["source"] == "builtin"
    assert found[0]["parameters"] > 1_000_000


def test_a_group_without_a_verb_and_list_say_the_same(fq):
    assert fq("models", "--json").json == fq("models", "list", "--json").json


def test_the_list_for_people_says_sizes_with_their_unit(fq):
    line = next(line for line in fq("models").out.splitlines() if line.startswith("demo "))
    assert "MiB" in line
    assert "LlamaForCausalLM" in line


def test_a_broken_folder_is_listed_with_its_problem(fq, tmp_path):
    broken = tmp_path / "models" / "broken\x1b[2J"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("{}")
    (broken / "pytorch_model.bin").write_bytes(b"pickle")
    row = next(
        row
        for row in fq("models", "--folder", tmp_path / "models", "--json").json["models"]
        if row["problem"]
    )
    assert row["path"] == str(broken)
    said = fq("models", "--folder", tmp_path / "models")
    assert "✗" in said.out
    assert "\x1b" not in said.out


def test_one_model_shown(fq):
    said = fq("models", "show", "demo-moe")
    assert "experts" in said.out
    described = fq("models", "show", "demo-moe", "--json").json
    assert described["experts"] > 0
    assert described["tensors"]


@pytest.mark.parametrize("verb", [["models", "show"], ["fit"], ["quantize"], ["evaluate"], ["generate"]])
def test_a_missing_model_is_exit_code_2_and_one_line(fq, verb):
    said = fq(*verb, "demoo")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert "demoo" in said.err
    assert "demo" in said.err.replace("demoo", "")


def test_a_hub_model_that_is_not_here_says_how_to_fetch_it(fq):
    said = fq("quantize", "nobody/nothing")
    assert said.code == 2
    assert "fqconsole models download nobody/nothing" in said.err


@pytest.mark.parametrize("verb", [["models", "show"], ["fit"], ["quantize"], ["generate"]])
def test_a_pickle_only_model_is_refused(fq, tmp_path, verb):
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})
    )
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    said = fq(*verb, folder)
    assert said.code == 2
    assert "pickle" in said.err
    assert "Traceback" not in said.err
