"""The command line as a whole: help, version, usage errors, internal errors, a reader that goes away."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import fqconsole.app
from fqconsole import paths
from fqconsole.cli.application import ORDER, application

ROOT = Path(__file__).resolve().parents[2]
HELP_SECONDS = 0.25
FQ = [sys.executable, "-m", "fqconsole"]


def commands(command, words=()):
    """Every command with its words, groups first."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


EVERY = list(commands(get_command(application)))


def test_help_lists_the_commands_in_the_order_of_the_work(fq):
    said = fq("--help")
    lines = [line.split()[0] for line in said.out.split("Commands:")[1].splitlines() if line.startswith("  ")]
    assert said.code == 0
    assert tuple(lines[: len(ORDER)]) == ORDER


def test_help_is_fast():
    """Computing time, the best of five: a machine that is busy with other things is no reason to fail."""
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*FQ, "--help"], check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < HELP_SECONDS


@pytest.mark.parametrize(
    ("words", "command"), EVERY, ids=[" ".join(words) or "fqconsole" for words, _ in EVERY]
)
def test_every_command_and_option_says_what_it_does(words, command):
    assert command.help, words
    for parameter in command.params:
        assert getattr(parameter, "help", None), (words, parameter.name)


def test_version(fq):
    assert fq("--version").out == f"fqconsole {fqconsole.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nosuch"], "No such command"),
        (["fit"], "MODEL"),
        (["quantize", "demo", "--bits", "four"], "--bits"),
        (["gpus", "--no-such-option"], "--no-such-option"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(fq, arguments, word):
    said = fq(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("fqconsole: ")
    assert word in said.err
    assert "--help" in said.err


def test_without_a_command_the_console_opens(fq, monkeypatch):
    monkeypatch.setattr(fqconsole.app, "run_console", lambda _events: 7)
    assert fq().code == 7


def test_an_internal_error_is_one_line_that_names_the_log(fq, monkeypatch):
    def broken():
        raise RuntimeError("boom \x1b[2J")

    monkeypatch.setattr(paths, "cache_dir", broken)
    said = fq("paths")
    log = paths.log_dir() / "fqconsole.log"
    assert said.code == 1
    assert len(said.err.splitlines()) == 1
    assert str(log) in said.err
    assert "\x1b" not in said.err
    assert "RuntimeError: boom" in log.read_text()
    assert "Traceback" in log.read_text()


def test_json_and_events_do_not_share_stdout(fq):
    said = fq("quantize", "demo", "--json", "--events")
    assert said.code == 2
    assert "--json and --events" in said.err


def test_a_reader_that_goes_away_is_no_failure_to_report():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*FQ, "paths"], stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
        )
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


def test_a_terminal_of_another_encoding_is_no_failure():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*FQ, "models"], capture_output=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0
    assert b"demo" in done.stdout


def test_an_ignored_hangup_stays_ignored():
    """nohup: the hangup must not end the job."""
    code = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from fqconsole.cli.ending import heeded, listen
listen()
os.kill(os.getpid(), signal.SIGHUP)
print(signal.SIGHUP in heeded(), signal.SIGTERM in heeded())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_serve_without_its_extra_says_what_to_install(fq, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    said = fq("serve")
    assert said.code == 2
    assert "pip install" in said.err
    assert '"textual-serve>=' in said.err
