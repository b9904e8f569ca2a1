"""Numbers as people read them."""

import pytest

from fqconsole.cli import quantities as q


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "—"),
        (0, "0 B"),
        (700, "0.7 KiB"),
        (13_600_000, "13.0 MiB"),
        (16_400_000_000, "15.3 GiB"),
        (2**37, "128 GiB"),
    ],
)
def test_sizes_say_their_unit_and_nothing_reads_zero(count, text):
    assert q.size(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "—"), (260, "260"), (8_190_735_360, "8.2B"), (3_407_872, "3.4M")]
)
def test_parameters(count, text):
    assert q.parameters(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "—"), (4.24, "4.2 s"), (161, "02:41"), (3761.4, "1:02:41")]
)
def test_durations(seconds, text):
    assert q.duration(seconds) == text


def test_speed_has_one_decimal_under_a_hundred():
    assert (q.speed(71.25), q.speed(148.3), q.speed(None)) == ("71.2", "148", "—")
