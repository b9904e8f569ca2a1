"""The table and the sentences of the comparison, from made-up rows."""

from benchmarks.quality.comparison import Row
from benchmarks.quality.frontier import OURS
from benchmarks.quality.judge import Score
from benchmarks.quality.report import show, verdicts


def row(who: str, detail: str, size: int, bits: float, loss: float) -> Row:
    return Row("demo", who, detail, size, bits, Score(1.75, loss, 0.925))


SIXTEEN = row("16-bit", "bfloat16", 16, 16.0, 0.0)
OURS_FOUR = row(OURS, "best, adaptive", 4, 4.25, 0.001)


def test_a_peer_is_held_against_ours_at_the_same_bits() -> None:
    lines = show([SIXTEEN, row("peer", "groups of 64", 4, 4.5, 0.0015), OURS_FOUR]).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [OURS, "peer", "16-bit"]
    assert lines[1].split()[3:] == ["4.250", "1.750", "1", "92.50", "%", "*"]
    assert lines[2].endswith("1.50")
    assert lines[3].endswith("%")


def test_the_sentences_say_who_is_before_us_and_by_how_much() -> None:
    better = row("peer", "tables", 4, 4.25, 0.0005)
    told = verdicts([SIXTEEN, OURS_FOUR, better])
    assert told.splitlines() == [
        "4 bits: fqconsole is off the frontier.",
        "  peer tables (4.250 bits) is on it, with 0.50 times the loss of ours at its bits.",
        "  best, adaptive (4.250 bits) is behind peer tables (4.250 bits).",
    ]


def test_a_peer_smaller_than_any_of_ours_has_no_ratio() -> None:
    told = verdicts([OURS_FOUR, row("peer", "rows", 4, 4.1, 0.002)])
    assert "peer rows (4.100 bits) is on it, smaller than any of ours." in told


def test_without_a_peer_there_is_no_verdict() -> None:
    assert verdicts([SIXTEEN, OURS_FOUR]) == "4 bits: no other quantizer was measured."
