"""Text files are read, or refused with a sentence."""

import pytest

from fqconsole.errors import UsageError
from fqconsole.evaluation import read_text


def test_text_is_read(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("Mara — 千问", encoding="utf-8")
    assert read_text(file) == "Mara — 千问"


def test_bytes_that_are_no_text_are_refused(tmp_path):
    file = tmp_path / "text.txt"
    file.write_bytes(b"abc\xff\xfe")
    with pytest.raises(UsageError, match="byte 3"):
        read_text(file)


def test_an_empty_file_is_refused(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(" \n")
    with pytest.raises(UsageError, match="no text"):
        read_text(file)


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_what_can_not_be_read_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="can't be read"):
        read_text(tmp_path / name)
