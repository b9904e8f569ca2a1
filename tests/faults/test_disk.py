"""A disk that is full, fails, gives half of what is asked, or may only be read."""

import re
import subprocess
from contextlib import contextmanager

import pytest

from tests.faults.conftest import only_in_full, some

# The calls by which the worker writes a checkpoint, and how often a run of four shards makes them.
WRITING = [
    *(("os.pwrite", at) for at in (1, 2, 3, 5, 9, 14, 20, 27, 35, 44)),
    *(("os.posix_fallocate", at) for at in (1, 2, 4)),
    *(("os.fsync", at) for at in (1, 2, 3, 5, 8, 12)),
    *(("os.fdatasync", at) for at in (1, 2)),
]
FULL = [(how, call, at) for call, at in WRITING for how in ("ENOSPC", "EIO")]
READING = [("os.preadv", at) for at in (1, 2, 4, 7, 11, 16, 22, 29)]
SAID = {"ENOSPC": "is full", "EIO": "can't be written", "EDQUOT": "is full", "EROFS": "not writable"}


@pytest.mark.slow
@pytest.mark.parametrize(("how", "call", "at"), some(FULL, 2))
def test_a_disk_that_takes_no_more(quantizing, how, call, at):
    ended = quantizing.run(fault={"call": call, "at": at, "how": how, "again": True})
    if ended.code != 0:  # else the run never made this call so often
        quantizing.require_failed(ended)
        assert SAID[how] in ended.err
        assert quantizing.resume().code == 0
    quantizing.require_done()


@only_in_full
@pytest.mark.slow
@pytest.mark.parametrize("how", ["EDQUOT", "EROFS"])
def test_other_words_of_a_disk_that_takes_nothing(quantizing, how):
    ended = quantizing.run(fault={"call": "os.pwrite", "at": 6, "how": how, "again": True})
    quantizing.require_failed(ended)
    assert SAID[how] in ended.err


@pytest.mark.slow
@pytest.mark.parametrize(("call", "at"), some(READING, 1))
def test_a_disk_that_can_not_be_read(quantizing, call, at):
    ended = quantizing.run(fault={"call": call, "at": at, "how": "EIO", "again": True})
    if ended.code != 0:
        quantizing.require_failed(ended)
        assert "can't be read" in ended.err
        assert quantizing.resume().code == 0
    quantizing.require_done()


@pytest.mark.slow
@pytest.mark.parametrize("call", some(["os.pwrite", "os.preadv"], 1))
def test_half_of_what_was_asked_for_is_no_harm(quantizing, call):
    ended = quantizing.run(fault={"call": call, "at": 1, "how": "half", "again": True})
    assert ended.code == 0, ended.err
    quantizing.require_done()


@contextmanager
def small_disk(place, options):
    """A file system of 3 MB at `place`, where this machine lets us mount one."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size=3m{options}", "fqconsole-test", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place / "out"
    finally:
        subprocess.run(["umount", str(place)], check=True)


@only_in_full
@pytest.mark.slow
@pytest.mark.parametrize(("options", "said"), [("", "GiB|is full"), (",ro", "not writable|can't be written")])
def test_a_real_disk_that_is_too_small_or_may_only_be_read(quantizing, tmp_path, options, said):
    with small_disk(tmp_path / "small", options) as out:
        ended = quantizing.start(out=out).wait()
        quantizing.operator.require_sound()
        assert ended.code in {1, 2}
        assert re.search(said, ended.err)
        assert "Traceback" not in ended.err
        assert not out.exists()
