"""`fqconsole fit`: the keys that scripts read, and exit code 3."""

import pytest

KEYS = {
    "bits",
    "gpus",
    "weights_bytes",
    "kv_bytes",
    "activation_bytes",
    "runtime_bytes",
    "total_bytes_per_gpu",
    "capacity_bytes",
    "verdict",
}
TOO_MUCH = ("--batch", "100000", "--gpu", "l4-24gb")


def test_every_option_has_the_keys_that_scripts_read(fq):
    said = fq("fit", "demo", "--bits", "16,8,4,3", "--gpus", "1,2,4,8", "--gpu", "h100-80gb", "--json")
    options = said.json["options"]
    assert said.code == 0
    assert {(option["bits"], option["gpus"]) for option in options} == {
        (bits, gpus) for bits in (16, 8, 4, 3) for gpus in (1, 2, 4, 8)
    }
    assert all(set(option) >= KEYS for option in options)
    assert all(option["verdict"] == "fits" for option in options)


def test_explain_names_every_term_and_its_origin(fq):
    said = fq("fit", "demo", "--bits", "4", "--gpus", "1", "--gpu", "h100-80gb", "--explain")
    for word in ("KV cache", "activations", "total", "headers", "formula", "fits"):
        assert word in said.out


def test_one_option_that_does_not_fit_is_exit_code_3(fq):
    said = fq("fit", "demo", "--bits", "4", "--gpus", "1", *TOO_MUCH)
    assert said.code == 3
    assert "does not fit" in said.out
    assert "It would with" in said.out


def test_how_several_gpus_split_the_model_is_said(fq):
    said = fq("fit", "demo", "--gpu", "h100-80gb", "--gpus", "1,2,3")
    assert "Split: tensor parallel on 2 GPUs, layers on 3 GPUs." in said.out
    assert "(tensor parallel)" in fq("fit", "demo", "--gpu", "h100-80gb", "--gpus", "2", "--explain").out
    assert "Split" not in fq("fit", "demo", "--gpu", "h100-80gb", "--gpus", "1").out


def test_force_goes_on(fq):
    assert fq("fit", "demo", "--bits", "4", "--gpus", "1", "--force", *TOO_MUCH).code == 0


def test_several_options_are_a_question_and_never_exit_code_3(fq):
    assert fq("fit", "demo", "--bits", "4,3", "--gpus", "1", *TOO_MUCH).code == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--bits", "5"], "--bits"),
        (["--bits", "4,,3"], "--bits"),
        (["--gpus", "0"], "--gpus"),
        (["--gpu", "h100"], "h100-80gb"),
        (["--group-size", "48"], "--group-size"),
        (["--context", "1000000"], "context"),
    ],
)
def test_what_does_not_exist_is_exit_code_2(fq, arguments, word):
    said = fq("fit", "demo", *arguments)
    assert said.code == 2
    assert word in said.err


def test_a_group_size_is_counted(fq):
    def weights(group: str) -> int:
        arguments = ("--bits", "4", "--gpus", "1", "--gpu", "h100-80gb", "--group-size", group, "--json")
        return fq("fit", "demo", *arguments).json["options"][0]["weights_bytes"]

    assert weights("channel") < weights("128") < weights("32")
