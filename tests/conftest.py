"""Fixtures for every room: each test gets places of its own and never sees the operator's."""

import os
import signal

import pytest
from hypothesis import settings

# The same examples at every run: a change is judged by what it changed. `pytest --hypothesis-profile=default`
# looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# Where a shell started the tests in the background they ignore Ctrl-C, and all that they start would too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The hub's library reads this once, when it is imported, which may be before the first fixture.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """FQCONSOLE_HOME and the Hugging Face cache point at an empty folder; the hub counts as unreachable."""
    place = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("FQCONSOLE_HOME", str(place))
    monkeypatch.setenv("HF_HOME", str(place / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return place
