"""Settings: what wins over what, where each value comes from, and the sentence for a wrong one."""

import json
from pathlib import Path

import pytest

from fqconsole import paths
from fqconsole.errors import UsageError
from fqconsole.home import FLAGS, config_file, may_be_set
from fqconsole.settings import Settings, explained, load, names, schema, template, with_flag


def written(text):
    place = config_file()
    place.parent.mkdir(parents=True)
    place.write_text(text)
    return place


def origin(name):
    return next((row.value, row.source, row.place) for row in explained() if row.name == name)


def test_without_any_source_the_defaults_are_in_force():
    assert load() == Settings()
    assert not may_be_set()
    assert {row.source for row in explained()} == {"default"}


def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(monkeypatch):
    assert origin("screen.theme") == ("fqconsole", "default", "")
    place = written('[screen]\ntheme = "light"\n')
    assert origin("screen.theme") == ("light", "config", str(place))
    monkeypatch.setenv("FQCONSOLE_SCREEN_THEME", "amber")
    assert origin("screen.theme") == ("amber", "environment", "FQCONSOLE_SCREEN_THEME")
    monkeypatch.setenv(FLAGS, with_flag(None, "screen.theme", "contrast"))
    assert origin("screen.theme") == ("contrast", "flag", "")
    assert load().screen.theme == "contrast"


@pytest.mark.parametrize(
    ("text", "value", "name"),
    [("true", True, "screen.ascii"), ("2.5", 2.5, "screen.gpu_interval"), ("3", 3, "quantize.bits")],
)
def test_text_from_the_environment_becomes_the_type(monkeypatch, text, value, name):
    monkeypatch.setenv("FQCONSOLE_" + name.replace(".", "_").upper(), text)
    assert origin(name)[0] == value


def test_folders_from_the_environment_stand_with_a_colon_between(monkeypatch):
    monkeypatch.setenv("FQCONSOLE_MODELS_FOLDERS", "/a:/b")
    assert paths.model_folders() == (Path("/a"), Path("/b"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[screen]\nthem = 'light'", "there is no setting screen.them. Did you mean screen.theme?"),
        ("[scren]\ntheme = 'light'", "there is no setting scren.theme. Did you mean screen.theme?"),
        ("theme = 'light'", "there is no setting theme. Did you mean screen.theme?"),
        (
            "[screen]\ntheme = 'pink'",
            'screen.theme can\'t be "pink". Choose fqconsole, light, amber, contrast.',
        ),
        ("[screen]\nascii = 'yes'", 'screen.ascii can\'t be "yes". Expected bool, got str.'),
        ("[screen]\ngpu_interval = 0", "screen.gpu_interval can't be 0. Expected float >= 0.1."),
        ("[quantize]\nbits = 5", "quantize.bits can't be 5. Choose 8, 4, 3."),
        ("[screen\n", "is no valid TOML"),
        ("[keys]\nruns.mark = 5", "keys.runs.mark can't be 5. Expected str, got int."),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(text, words):
    place = written(text)
    with pytest.raises(UsageError) as told:
        load()
    assert str(told.value).startswith(f"{place}") or str(place) in str(told.value)
    assert words in str(told.value)


def test_a_wrong_variable_is_named_as_well(monkeypatch):
    monkeypatch.setenv("FQCONSOLE_SCREEN_THEMES", "light")
    with pytest.raises(UsageError, match=r"FQCONSOLE_SCREEN_THEMES: there is no setting screen\.themes"):
        load()


def test_keys_may_be_written_with_quotes_without_or_as_a_list():
    written('[keys]\n"runs.mark" = "space,insert"\nruns.note = ["n", "f9"]\n')
    assert load().keys == {"runs.mark": "space,insert", "runs.note": "n,f9"}
    assert origin("keys.runs.mark")[1] == "config"


def test_the_written_template_is_all_defaults_and_names_everything():
    written(template())
    assert load() == Settings()
    assert all(f"# {name.partition('.')[2]} = " in template() for name in names())
    switched_on = "\n".join(
        line.removeprefix("# ") if " = " in line and not line.startswith('# "') else line
        for line in template().splitlines()
    )
    config_file().write_text(switched_on)
    assert load() == Settings()
    assert {row.source for row in explained()} == {"config"}


def test_the_schema_describes_every_setting():
    text = json.dumps(schema())
    assert all(f'"{name.partition(".")[2]}"' in text for name in names())


def test_the_store_and_model_folders_move(tmp_path):
    written(f'[runs]\nstore = "{tmp_path}/team.db"\n[models]\nfolders = ["{tmp_path}"]\n')
    assert paths.store_file() == tmp_path / "team.db"
    assert paths.model_folders() == (tmp_path,)
