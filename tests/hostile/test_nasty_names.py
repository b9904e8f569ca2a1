"""Names and texts that would repaint a terminal, run as markup, as HTML or as a formula."""

import json
import re
import shutil

import pytest

from fqconsole.cli import main
from fqconsole.demo import materialize
from store import Store, export

NASTY = "evil\x1b[2J\x9b31m\u202e[bold]<script>alert(1)</script>"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def model(tmp_path):
    """A model whose folder, chat template, licence and tensor of interest are all named badly."""
    folder = tmp_path / NASTY.replace("/", "_")
    shutil.copytree(materialize("demo"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [NASTY], "model_name": NASTY}))
    (folder / "README.md").write_text(f"---\nlicense: {NASTY}\n---\n")
    return folder


@pytest.mark.parametrize(
    "said",
    [
        ("models", "list", "--folder", "{parent}"),
        ("models", "show", "{model}"),
        ("models", "show", "{model}", "--json"),
        ("fit", "{model}"),
        ("fit", "{model}", "--json"),
        ("fit", NASTY),
        ("plan", NASTY),
        ("quantize", NASTY),
        ("quantize", "{model}", "--out", "{model}"),
        ("evaluate", NASTY),
        ("generate", NASTY, "--prompt", NASTY),
        ("verify", "{model}"),
        ("runs", "list", NASTY),
        ("runs", "show", NASTY),
        ("runs", "export", NASTY),
        ("replay", NASTY),
        ("config", NASTY),
        (NASTY,),
    ],
)
def test_no_command_sends_a_nasty_name_to_the_terminal(model, capfd, said):
    words = [word.format(model=model, parent=model.parent) if "{" in word else word for word in said]
    main(words)
    printed = capfd.readouterr()
    assert RAW.search(printed.out + printed.err) is None
    assert "Traceback" not in printed.err
    assert (printed.out + printed.err).strip()


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "runs.db") as opened:
        yield opened


@pytest.mark.parametrize("text", [NASTY, "=cmd|'/c calc'!A1", "+1+1", "-2", "@SUM(A1)", "\t=1", "a|b\n# c"])
def test_exports_carry_text_and_nothing_else(store, text):
    run = store.begin_run("generate", text, path=text, plan=None, options={}, host={}, pid=1, pid_started=1.0)
    store.finish_run(run, "done")
    store.set_note(run, text)
    page = export.to_html(store, [run])
    assert "<script>alert" not in page
    assert RAW.search(page) is None
    (line,) = export.to_csv(store, [run]).splitlines()[1:2]
    assert not re.search(r'(^|,)"?[=+@\t]', line), line
    assert len(json.loads(export.to_json(store, [run]))) >= 1
    assert "\n# c" not in export.to_markdown(store, [run])
