"""The resident peak of a process, and from when it counts."""

import subprocess
import sys

import pytest

from fqconsole import host_peak as measured

HELD = """
from fqconsole.host_peak import host_peak, reset_host_peak
before = host_peak()
held = b"x" * (64 << 20)
during = host_peak()
del held
print(before, during, host_peak())
reset_host_peak()
print(host_peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not let a peak begin anew")
def test_the_peak_stays_until_it_is_begun_anew():
    said = subprocess.run([sys.executable, "-c", HELD], check=True, capture_output=True, text=True).stdout
    before, during, after, anew = map(int, said.split())
    assert during >= before + (60 << 20)
    assert after >= during - (1 << 20)
    assert anew < before + (32 << 20)


def test_without_proc_the_peak_is_that_of_the_whole_life(monkeypatch, tmp_path):
    here = measured.host_peak()
    monkeypatch.setattr(measured, "Path", lambda place: tmp_path / "none" / place.lstrip("/"))
    measured.reset_host_peak()
    assert measured.host_peak() >= here // 2
