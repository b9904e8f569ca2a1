"""The protocol on the wire: one golden line for every request and event, read by people who script."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from fqconsole.jobs import messages as m
from tests.jobs.examples import EVENTS, REQUESTS

GOLDEN = Path(__file__).parent / "golden"


def golden(message):
    """The golden line of a message's type. Delete the file to have it written anew."""
    path = GOLDEN / f"{type(message).__name__}.json"
    if not path.exists():
        path.write_bytes(m.encode(message))
        pytest.fail(f"{path} was missing and is written now: look at it and add it")
    return path.read_bytes()


def test_every_message_of_the_protocol_has_an_example():
    assert {type(message) for message in REQUESTS} == set(get_args(m.AnyRequest))
    assert {type(message) for message in EVENTS} == set(get_args(m.AnyEvent))
    assert {path.stem for path in GOLDEN.glob("*.json")} == {type(one).__name__ for one in REQUESTS + EVENTS}


@pytest.mark.parametrize("message", REQUESTS, ids=lambda message: type(message).__name__)
def test_requests_are_written_and_read_as_the_golden_line(message):
    assert m.encode(message) == golden(message)
    assert m.decode_request(golden(message)) == message


@pytest.mark.parametrize("message", EVENTS, ids=lambda message: type(message).__name__)
def test_events_are_written_and_read_as_the_golden_line(message):
    assert m.encode(message) == golden(message)
    assert m.decode_event(golden(message)) == message


@pytest.mark.parametrize("message", REQUESTS + EVENTS, ids=lambda message: type(message).__name__)
def test_a_message_is_one_line_whatever_it_holds(message):
    line = m.encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_a_request_with_an_unknown_field_is_refused_by_name():
    with pytest.raises(msgspec.ValidationError, match="hurry"):
        m.decode_request(b'{"type":"Stop","hurry":true}')


def test_an_event_of_a_later_version_with_more_fields_is_still_read():
    line = m.encode(m.Paused(t=1.0)).replace(b"}", b',"since":3}')
    assert m.decode_event(line) == m.Paused(t=1.0)
