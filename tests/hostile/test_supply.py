"""What is installed is pinned by version and by hash."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s\\]+)", re.MULTILINE)


def pins(name):
    """Package (as the index spells it) → version."""
    found = PIN.findall((ROOT / name).read_text())
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


def test_both_files_pin_the_same_versions():
    """`make pins` writes the second from the first."""
    wanted = pins("constraints.txt")
    del wanted["torch"]  # which build of it is right is the machine's business
    assert pins("requirements-hashed.txt") == wanted
    assert len(wanted) > 80


def test_every_package_has_a_hash_and_comes_from_the_index():
    text = (ROOT / "requirements-hashed.txt").read_text()
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]
    assert "://" not in text
    assert "--index" not in text
