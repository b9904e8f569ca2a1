"""`fqconsole config`, and settings as they reach other commands."""

import os

from fqconsole.cli.quantize import usual_bits
from fqconsole.home import FLAGS, config_file


def test_init_writes_a_file_once_and_validate_finds_it_sound(fq):
    assert fq("config", "validate").out == f"There is no {config_file()}: the defaults are in force.\n"
    assert fq("config", "init").err == f"wrote {config_file()}\n"
    assert fq("config", "path").out == f"{config_file()}\n"
    assert fq("config", "validate").out == f"{config_file()} is sound.\n"
    again = fq("config", "init")
    assert again.code == 2 and "is there already" in again.err


def test_show_tells_every_value_with_its_origin(fq, monkeypatch):
    monkeypatch.setenv("FQCONSOLE_QUANTIZE_BITS", "3")
    said = fq("--set", "session.temperature=0.2", "--ascii", "config", "show", "--json")
    rows = {row["name"]: row for row in said.json["settings"]}
    assert rows["quantize.bits"]["value"] == 3
    assert rows["quantize.bits"]["source"] == "environment"
    assert rows["session.temperature"] | {"meaning": ""} == {
        "name": "session.temperature", "value": 0.2, "source": "flag", "place": "", "meaning": "",
    }  # fmt: skip
    assert rows["screen.ascii"]["source"] == "flag"
    assert rows["runs.store"]["source"] == "default"
    assert FLAGS not in os.environ  # the flags of a command end with it


def test_a_wrong_file_is_told_by_every_command_but_does_not_stand_in_the_way_of_config(fq):
    config_file().parent.mkdir(parents=True)
    config_file().write_text("[screen]\ncolour = 'red'\n")
    for words in (["models"], ["config", "show"], ["config", "validate"], ["generate", "demo"]):
        said = fq(*words)
        assert said.code == 2, words
        assert said.err.startswith(f"fqconsole: {config_file()}: there is no setting screen.colour.")
        assert len(said.err.splitlines()) == 1
    assert fq("config", "path").code == 0


def test_validate_knows_the_actions_of_the_console(fq):
    config_file().parent.mkdir(parents=True)
    config_file().write_text('[keys]\n"runs.marks" = "x"\n')
    said = fq("config", "validate")
    assert said.code == 2 and "Did you mean runs.mark?" in said.err


def test_settings_are_the_defaults_of_options_and_help_says_so(fq, monkeypatch):
    monkeypatch.setenv("FQCONSOLE_SESSION_TEMPERATURE", "0.25")
    assert "[default: 0.25;" in " ".join(fq("generate", "--help").out.split())
    said = fq("--set", "session.temperature=0.5", "generate", "--help").out
    assert "[default: 0.5;" in " ".join(said.split())


def test_how_long_runs_are_kept_is_a_setting(fq, monkeypatch):
    monkeypatch.setenv("FQCONSOLE_RUNS_KEEP_SAMPLES", "7d")
    assert "[default: 7d]" in " ".join(fq("runs", "prune", "--help").out.split())


def test_bits_where_none_are_asked_for(monkeypatch):
    monkeypatch.setenv("FQCONSOLE_QUANTIZE_BITS", "8")
    assert usual_bits() == 8


def test_set_without_a_value_is_one_line(fq):
    said = fq("--set", "screen.theme", "config", "show")
    assert said.code == 2 and said.err == "fqconsole: --set screen.theme has no =. Write --set NAME=VALUE.\n"
