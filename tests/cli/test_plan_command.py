"""`fqconsole plan` and what quantize takes of it: with a real worker, and what is refused before."""

import json

import pytest

from fqconsole import paths
from fqconsole.cli.planning import share_of
from fqconsole.errors import UsageError
from store import Store

KEYS = {
    "model", "mode", "target", "widths", "bytes", "bits_per_weight", "predicted_loss", "matrices", "frontier",
}  # fmt: skip
MATRIX_KEYS = {"name", "shape", "fused_set", "bits", "group_size", "bytes", "predicted_loss"}


def test_a_plan_is_saved_edited_and_quantized(fq, tmp_path):
    file = tmp_path / "plan.toml"
    made = fq("plan", "demo", "--target-bits", "3.6", "--mode", "fast", "--save", file, "--json")
    assert made.code == 0, made.err
    document = made.json
    assert document.keys() == KEYS
    assert all(matrix.keys() == MATRIX_KEYS for matrix in document["matrices"])
    assert 3.59 < document["bits_per_weight"] <= 3.6
    assert document["predicted_loss"] == pytest.approx(sum(m["predicted_loss"] for m in document["matrices"]))
    assert len(document["frontier"]) > 10

    again = fq("plan", "demo", "--max-loss", "1%", "--mode", "fast")
    assert again.code == 0
    assert "measure" not in again.err  # no worker: the first measurement serves every target
    assert "●" in again.out
    assert "model.layers.0.self_attn.q_proj" in again.out

    name = "model.layers.7.mlp.down_proj"
    lines = [
        f'"{name}" = {{ bits = 16 }}' if line.startswith(f'"{name}"') else line
        for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines))
    shown = fq("plan", "demo", "--plan", file, "--json").json
    assert {m["name"]: m["bits"] for m in shown["matrices"]}[name] == 16
    quantized = fq("quantize", "demo", "--plan", file, "--out", tmp_path / "out", "--json")
    assert quantized.code == 0, quantized.err
    assert {m["name"] for m in quantized.json["matrices"]} == {m["name"] for m in shown["matrices"]} - {name}
    for matrix in quantized.json["matrices"]:
        planned = next(m for m in shown["matrices"] if m["name"] == matrix["name"])
        assert (matrix["bits"], matrix["group_size"]) == (planned["bits"], planned["group_size"])
    manifest = json.loads((tmp_path / "out" / "fqconsole_manifest.json").read_text())
    assert manifest["plan"]["target"] == "plan.toml"
    assert manifest["plan"]["granularity"] == "planned"
    with Store.open(paths.store_file()) as store:
        (row,) = store.list_runs()  # planning leaves no run
        assert (row.status, row.granularity) == ("done", "planned")

    file.write_text(file.read_text().replace("bits = 16", "bits = 7"))
    wrong = fq("quantize", "demo", "--plan", file, "--out", tmp_path / "other")
    assert wrong.code == 2
    assert f"{name} has bits 7" in wrong.err
    assert ", line " in wrong.err


def test_the_rule_is_planned_as_it_is_quantized(fq):
    made = fq("plan", "demo", "--bits", "4", "--mode", "fast", "--json").json
    assert {m["bits"] for m in made["matrices"]} == {4}
    assert made["target"] == "FineQuant's rule, 4 bits"
    fitting = fq("plan", "demo", "--mode", "fast", "--fit", "h100-80gb", "--json").json
    assert fitting["bits_per_weight"] == 16
    refused = fq("quantize", "demo", "--mode", "fast", "--fit", "h100-80gb")
    assert refused.code == 2
    assert "can stay in 16 bits" in refused.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--bits", "4", "--target-bits", "3.6"), "--target-bits and --bits"),
        (("--target-bits", "3.6", "--max-loss", "1%"), "--target-bits and --max-loss"),
        (("--group-size", "64", "--max-loss", "1%"), "--max-loss and --group-size"),
        (("--max-loss", "much"), "is no share"),
        (("--plan", "/nowhere.toml"), "can't be read"),
        (("--widths", "4,8"), "--widths needs a goal"),
        (("--widths", "4,8", "--bits", "4"), "--widths needs a goal"),
        (("--widths", "4,8", "--plan", "a.toml"), "--widths and --plan"),
        (("--widths", "4,5", "--max-loss", "1%"), "one or more of 3, 4, 8, 16"),
        (("--widths", "16", "--max-loss", "1%"), "nothing to quantize to"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "quantize"])
def test_wishes_that_contradict_are_refused_before_a_worker_starts(fq, command, options, words):
    said = fq(command, "demo", *options)
    assert said.code == 2
    assert words in said.err
    assert said.err.startswith("fqconsole: ")


def test_shares_are_read_with_and_without_a_percent_sign():
    assert share_of("1%") == share_of("0.01") == 0.01
    assert share_of("0.5 %") == pytest.approx(0.005)
    for text in ("", "-1", "150%", "one"):
        with pytest.raises(UsageError):
            share_of(text)


@pytest.fixture
def gpu_of(monkeypatch):
    """`gpu_of(bytes)` makes every GPU that is asked for one with this much free memory."""
    from fqconsole.cli import memory_check
    from fqconsole.fit.capacity import Capacity

    def use(free):
        made = Capacity(name="a small GPU", total_bytes=free, free_bytes=free, kind="named gpu")
        monkeypatch.setattr(memory_check, "capacity", lambda gpu=None, device="auto": made)

    return use


def test_what_fits_is_found_by_the_previews_own_account(fq, gpu_of):
    """With room for int4 and not for int8 the plan lies between; a GPU too small for any is exit code 3."""
    from fqconsole.fit import preview
    from fqconsole.fit.capacity import named_gpu
    from fqconsole.models import describe, resolve_model

    found = preview(describe(resolve_model("demo")), named_gpu("h100-80gb"), gpu_counts=(1,))
    totals = {option.bits: option.total_bytes_per_gpu for option in found.options}
    gpu_of(int((totals[4] * 0.5 + totals[8] * 0.5) / (1 - found.margin)) + 1)
    made = fq("plan", "demo", "--mode", "fast", "--fit", "small", "--json")
    assert made.code == 0, made.err
    assert made.json["target"] == "fits a small GPU, 1 GPU, context 1024"
    assert made.json["bits_per_weight"] == pytest.approx((4.25 + 8.06) / 2, abs=0.1)
    gpu_of(totals[3] // 2)
    assert fq("plan", "demo", "--mode", "fast", "--fit", "small").code == 3


def test_experts_are_planned_layer_by_layer_where_that_is_asked_for(fq, tmp_path):
    def schemes(document):
        return {
            (m["bits"], m["group_size"]) for m in document["matrices"] if len(m["shape"]) == 3
        }  # fmt: skip

    file = tmp_path / "plan.toml"
    options = ("demo-moe", "--target-bits", "3.6", "--mode", "fast")
    shared = fq("plan", *options, "--json").json
    apart = fq("plan", *options, "--experts", "layer", "--save", file, "--json").json
    assert len(schemes(shared)) == 1 < len(schemes(apart))
    assert apart["predicted_loss"] < shared["predicted_loss"]
    written = fq("quantize", "demo-moe", "--plan", file, "--out", tmp_path / "out", "--json")
    assert written.code == 0, written.err
    assert "import fqconsole.transformers" in written.err
    assert schemes(written.json) == schemes(apart)
    assert "experts=layer" in fq("runs", "show", written.json["run_id"]).out
    wrong = fq("quantize", *options, "--experts", "each")
    assert wrong.code == 2
    assert "Choose model or layer." in wrong.err


def test_a_head_is_packed_where_that_is_asked_for(fq, tmp_path):
    written = fq("quantize", "demo", "--mode", "fast", "--head", "8", "--out", tmp_path / "out", "--json")
    assert written.code == 0, written.err
    assert [m["bits"] for m in written.json["matrices"] if m["name"] == "lm_head"] == [8]
    assert "head=8" in fq("runs", "show", written.json["run_id"]).out
    file = tmp_path / "plan.toml"
    options = ("demo", "--mode", "fast", "--target-bits", "4", "--head", "4", "--save", file, "--json")
    planned = fq("plan", *options).json
    assert planned["matrices"][-1]["name"] == "lm_head"
    wrong = fq("quantize", "demo", "--plan", file, "--head", "8")
    assert wrong.code == 2
    assert "--head and --plan" in wrong.err
    wrong = fq("plan", "demo", "--head", "5")
    assert wrong.code == 2
    assert "Choose 16, 8, 4." in wrong.err


def test_a_plan_for_engines_has_no_int3_and_is_served(fq, tmp_path):
    file, out = tmp_path / "plan.toml", tmp_path / "out"
    options = ("demo", "--mode", "fast", "--target-bits", "4.5")
    free = fq("plan", *options, "--json").json
    assert 3 in {matrix["bits"] for matrix in free["matrices"]}
    written = fq("quantize", *options, "--out", tmp_path / "free", "--json")
    refused = fq("serve-command", tmp_path / "free")
    assert refused.code == 2
    assert "quantize with --widths 4,8,16" in refused.err

    made = fq("plan", *options, "--widths", "4,8,16", "--save", file)
    assert "of the widths 4,8,16" in made.out
    written = fq("quantize", "demo", "--plan", file, "--out", out, "--json")
    assert written.code == 0, written.err
    assert {matrix["bits"] for matrix in written.json["matrices"]} <= {4, 8}
    assert "widths=[4, 8, 16]" in fq("runs", "show", written.json["run_id"]).out
    assert fq("serve-command", out).code == 0
