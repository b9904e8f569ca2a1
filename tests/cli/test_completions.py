"""What a shell offers: every argument that names a model or a run, at once and without a complaint."""

import sqlite3

import pytest

from fqconsole import paths
from fqconsole.cli import completions, main
from fqconsole.cli.run_store import open_store
from fqconsole.home import config_file
from store.recent import recent_run_ids
from tests.cli.test_application import EVERY

NAMES = {"MODEL", "CHECKPOINT", "RUN"}


@pytest.mark.parametrize(
    ("words", "parameter"),
    [
        pytest.param(words, parameter, id=" ".join((*words, parameter.name)))
        for words, command in EVERY
        for parameter in command.params
        if (parameter.metavar or "").strip("[]") in NAMES
    ],
)
def test_every_model_and_run_is_completed(words, parameter):
    assert parameter._custom_shell_complete is not None


def offered(shell, line, capsys, monkeypatch):
    monkeypatch.setenv("_FQCONSOLE_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - (not line.endswith(" "))))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_told_models(capsys, monkeypatch, shell):
    (paths.checkpoints_dir() / "demo-int4").mkdir(parents=True)
    said = offered(shell, "fqconsole fit demo", capsys, monkeypatch)
    assert all(name in said for name in ("demo-moe", "demo-outliers", "demo-int4"))


def begin(store, kind, model):
    return store.begin_run(kind, model, options={}, host={}, pid=1, pid_started=0.0)


def test_runs_are_offered_newest_first_and_checkpoints_only_those_that_were_made(capsys, monkeypatch):
    with open_store() as store:
        for kind in ("quantize", "generate", "quantize"):
            begin(store, kind, "demo")
    assert [word for word, _meaning in completions.runs("r")] == ["r0003", "r0002", "r0001"]
    assert [word for word, _meaning in completions.checkpoints("r")] == ["r0003", "r0001"]
    assert offered("bash", "fqconsole runs show r000", capsys, monkeypatch).split() == [
        "r0003",
        "r0002",
        "r0001",
    ]
    assert completions.runs("r0002")[0][1].startswith("generate demo")


def test_what_can_not_be_read_offers_nothing(tmp_path, monkeypatch):
    assert recent_run_ids(tmp_path / "none.db") == []
    (tmp_path / "broken.db").write_text("no database")
    assert recent_run_ids(tmp_path / "broken.db") == []
    sqlite3.connect(tmp_path / "empty.db").close()
    assert recent_run_ids(tmp_path / "empty.db") == []
    config_file().parent.mkdir(parents=True)
    config_file().write_text("[nosuch]\nx = 1\n")
    assert completions.models("de") == [] and completions.runs("r") == []
