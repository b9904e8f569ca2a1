"""docs/jobs.md names every message, every field and every failure code."""

import re
from pathlib import Path
from typing import get_args

import pytest

from fqconsole.jobs import messages as m
from fqconsole.jobs.messages import decode_request

PAGE = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text()


def line_of(name):
    """The line of a table whose first cell names this message."""
    return next((line for line in PAGE.splitlines() if re.match(rf"\|[^|]*`{name}`[^|]*\|", line)), "")


@pytest.mark.parametrize(
    "message", get_args(m.AnyRequest) + get_args(m.AnyEvent), ids=lambda one: one.__name__
)
def test_every_message_is_told_with_all_its_fields(message):
    line = line_of(message.__name__)
    assert line, f"{message.__name__} is missing"
    told = set(re.findall(r"`(\w+)`", line))
    assert set(message.__struct_fields__) - {"t"} <= told


def test_the_requests_of_the_example_are_requests():
    lines = [line for line in PAGE.splitlines() if line.startswith('{"type"')]
    assert len(lines) == 3
    for line in lines:
        decode_request(line)


def test_the_codes_that_jobs_make_are_told():
    from fqconsole.errors import DeviceError, DoesNotFitError, OperatorError, UsageError
    from fqconsole.jobs import endings, failures, orders
    from fqconsole.models.errors import HubError, ModelError

    codes = {
        error.code
        for error in (OperatorError, UsageError, DoesNotFitError, DeviceError, ModelError, HubError)
    }
    codes |= {orders.ProtocolError.code, failures.OUT_OF_MEMORY, failures.DEVICE_LOST}
    codes |= set(re.findall(r'"(\w+)",\n\s+1,', Path(failures.__file__).read_text()))
    codes |= set(re.findall(r'code="(\w+)"', Path(endings.__file__).read_text()))
    assert {"disk_full", "no_access", "internal", "worker_died"} <= codes
    assert [code for code in sorted(codes) if f"`{code}`" not in PAGE] == []
