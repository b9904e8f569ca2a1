"""`fqconsole fit --config`: models that are nowhere on this machine."""

import time
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[1] / "fit" / "configs"
GIB = 1 << 30


def options(fq, name, *arguments):
    said = fq("fit", "--config", CONFIGS / f"{name}.json", "--json", *arguments)
    assert said.code == 0, said.err
    return {(option["bits"], option["gpus"]): option for option in said.json["options"]}


@pytest.mark.slow
def test_the_size_published_for_opt_175b_from_its_config_alone(fq):
    """FineQuant's table: 324.16 GiB in fp16, 86.23 GiB in int4 with groups of 64."""
    arguments = ("--gpu", "a100-80gb", "--bits", "16,4", "--gpus", "1,2")
    found = options(fq, "opt-175b", *arguments)
    wide, narrow = found[16, 1], found[4, 1]
    assert wide["layers_bytes"] / GIB == pytest.approx(324.16, rel=0.003)
    assert narrow["layers_bytes"] / GIB == pytest.approx(86.23, rel=0.003)
    assert wide["layers_bytes"] / GIB == pytest.approx(324.03, abs=0.005)
    assert narrow["layers_bytes"] / GIB == pytest.approx(86.09, abs=0.005)
    assert wide["model_bytes"] / GIB == pytest.approx(325.23, abs=0.005)
    assert narrow["model_bytes"] / GIB == pytest.approx(87.29, abs=0.005)
    assert (found[4, 2]["verdict"], found[4, 2]["largest_context"]) == ("fits", 2048)
    assert found[16, 2]["verdict"] == "does not fit"
    began = time.process_time()
    assert options(fq, "opt-175b", *arguments) == found  # from the cache: no worker is started
    assert time.process_time() - began < 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "read"), [("llama-3-405b", 405.85e9, 403.75e9), ("deepseek-v3", 671.03e9, 36.6e9)]
)
def test_models_too_large_to_download(fq, name, parameters, read):
    """Parameters as published, and of them those that one token reads: all, or the active experts."""
    found = options(
        fq, name, "--gpu", "h200-141gb", "--bits", "16", "--gpus", "8", "--context", "1", "--force"
    )
    assert found[16, 8]["model_bytes"] == pytest.approx(2 * parameters, rel=0.001)
    assert found[16, 8]["step_bytes"] == pytest.approx(2 * read, rel=0.01)


def test_a_config_that_can_not_be_used_is_exit_code_2(fq, tmp_path):
    path = tmp_path / "some.json"
    path.write_text("{}")
    said = fq("fit", "--config", path)
    assert said.code == 2
    assert "model_type" in said.err
    assert fq("fit", "--config", tmp_path / "missing.json").code == 2


@pytest.mark.parametrize("arguments", [(), ("demo", "--history"), ("--config", "x.json", "demo")])
def test_one_thing_at_a_time(fq, arguments):
    said = fq("fit", *arguments)
    assert said.code == 2
    assert "One thing" in said.err


def test_a_machine_without_runs_says_how_to_get_one(fq):
    said = fq("fit", "--history")
    assert said.code == 0
    assert "fqconsole generate demo" in said.out


def test_several_gpus_of_one_machine(fq):
    said = fq("fit", "demo", "--bits", "4", "--gpu", "rtx4090-24gb,a100-80gb", "--json").json
    assert said["capacity"]["name"] == "A100 80GB + RTX 4090"
    assert [option["gpus"] for option in said["options"]] == [1, 2]
    assert all(option["decode_tok_s"] > 0 for option in said["options"])


@pytest.mark.slow
def test_what_was_predicted_and_measured_is_listed_and_learned_from(fq):
    for _ in range(3):
        arguments = ("--prompt", "Once", "--max-new-tokens", "5", "--device", "cpu", "--quiet", "--greedy")
        assert fq("generate", "demo", *arguments).code == 0
    said = fq("fit", "--history", "--device", "cpu", "--json").json
    assert [run["run_id"] for run in said["runs"]] == ["r0003", "r0002", "r0001"]
    for run in said["runs"]:
        predicted, measured = run["terms"]["kv"]
        assert predicted == measured > 0
        assert set(run["terms"]) == {"weights", "kv", "activations", "runtime", "total"}
    assert said["accuracy"]["runs"] == 3
    assert said["runtime"]["origin"] == "measured"
    page = fq("fit", "--history", "--device", "cpu").out
    assert "r0003" in page
    assert "3 runs here" in page
    assert "3 runs here" in fq("fit", "demo", "--bits", "4", "--device", "cpu").out
