"""The leash: whatever happens to those who started it, the whole engine ends, also one that is deaf."""

import os
import signal
import subprocess
import sys

import pytest

from fqconsole.serving import leash
from fqconsole.serving.engine import Engine
from tests.jobs.conftest import ends_within

# A parent with a child of its own; both are deaf to SIGTERM where the first argument says so.
ENGINE = """
import os, signal, sys, time
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    print(os.getpid(), child, os.environ.get("PYTHONPATH", ""), flush=True)
    if sys.argv[1] == "leave":
        os._exit(7)
while True:
    time.sleep(0.01)
"""


def pids(log):
    """The pids that the engine told."""
    while not log.read_text().endswith("\n"):
        pass
    return [int(word) for word in log.read_text().split()[:2]]


@pytest.fixture
def short_grace(tmp_path, monkeypatch):
    """The leash's file with less patience."""
    text = leash.__loader__.get_source(leash.__name__).replace("GRACE_SECONDS = 20.0", "GRACE_SECONDS = 0.2")
    (tmp_path / "leash.py").write_text(text)
    monkeypatch.setattr(leash, "__file__", str(tmp_path / "leash.py"))


@pytest.mark.parametrize("manner", ["polite", "deaf"])
def test_the_whole_engine_ends_when_told_to(tmp_path, short_grace, manner):
    mark = tmp_path / "afterwards"
    log = tmp_path / "log"
    engine = Engine.start([sys.executable, "-c", ENGINE, manner], ["touch", str(mark)], log)
    told = pids(log)
    engine.end()
    assert [ends_within(pid, 10) for pid in told] == [True, True]
    assert engine.ended(10) is not None
    assert mark.exists() == (manner == "deaf")


def test_what_an_engine_leaves_behind_is_ended_and_its_exit_code_told(tmp_path):
    log = tmp_path / "log"
    engine = Engine.start([sys.executable, "-c", ENGINE, "leave"], [], log)
    assert engine.ended(30) == 7
    assert ends_within(pids(log)[1], 10)


def test_our_checkout_is_no_part_of_the_engines_path(tmp_path, monkeypatch):
    root = str(leash.__file__).removesuffix("/fqconsole/serving/leash.py")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, "/of/the/operator"]))
    log = tmp_path / "log"
    engine = Engine.start([sys.executable, "-c", ENGINE, "polite"], [], log)
    pids(log)
    assert log.read_text().split()[2] == "/of/the/operator"
    engine.end()


def test_the_engine_ends_when_leash_or_starter_are_killed(tmp_path):
    log = tmp_path / "log"
    code = f"""
import sys, time
from pathlib import Path
from fqconsole.serving.engine import Engine
engine = Engine.start([sys.executable, "-c", {ENGINE!r}, "polite"], [], Path({str(log)!r}))
print(engine._process.pid, flush=True)
time.sleep(60)
"""
    for victim in ("starter", "leash"):
        log.write_text("")
        starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        held = int(starter.stdout.readline())
        parent, child = pids(log)
        os.kill(starter.pid if victim == "starter" else held, signal.SIGKILL)
        assert ends_within(parent, 10)
        if victim == "leash":  # nobody is left who could end what the engine itself had started
            os.kill(child, signal.SIGKILL)
        assert ends_within(child, 10)
        starter.kill()
        starter.communicate()
