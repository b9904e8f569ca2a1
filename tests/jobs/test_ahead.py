"""The time left of a whole job comes true from its first tenth on, once one was seen. Clocks are false."""

import pytest

from fqconsole.jobs.ahead import FIRST_PRICES, Ahead, prices_path, read_prices

# Seconds a unit on some machine, far from those that a first job is told by.
TRUE = {"balance": 2e-8, "analyse": 4e-9, "quantize": 2e-9}
SMALL = {"balance": 1e8, "analyse": 2.6e9, "quantize": 3e9}
LARGE = {"balance": 3e8, "analyse": 1.4e10, "quantize": 1.6e10}  # wide rows: less of them is sampled
STEPS = 50


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def exactly(step, seconds):
    """What a phase tells of itself: the truth."""
    return seconds * (1 - step / STEPS)


def wildly(step, seconds):
    """Nothing, then far too much, until something of the phase is done."""
    return None if step < 2 else 4 * seconds if step == 2 else exactly(step, seconds)


def job(units, *, kind="best on cpu", slower=1.0, held=0.0, tells=exactly):
    """(share of the time that has passed, seconds left as told, truly) at each report of a job."""
    clock = Clock()
    later = {phase: units[phase] for phase in units if phase != "balance"}
    ahead = Ahead(kind, later, clock=clock)
    whole = slower * sum(units[phase] * TRUE[phase] for phase in units)
    passed = 0.0
    for phase, size in units.items():
        ahead.begin(phase, size)
        seconds = slower * size * TRUE[phase]
        for step in range(1, STEPS + 1):
            clock.now += seconds / STEPS + held
            ahead.skip(held)
            passed += seconds / STEPS
            yield passed / whole, ahead.left(tells(step, seconds), size * step / STEPS), whole - passed
    ahead.finish()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FQCONSOLE_HOME", str(tmp_path))


@pytest.mark.parametrize(("slower", "held"), [(1.0, 0.0), (2.5, 0.0), (1.0, 3.0)])
def test_the_second_job_is_told_truly_from_its_first_tenth_on(slower, held):
    first = list(job(SMALL))
    assert any(abs(said - true) > 0.2 * true for _, said, true in first if true > 0)
    assert read_prices()["best on cpu"] == pytest.approx(TRUE)
    for share, said, true in job(LARGE, slower=slower, held=held):
        assert share < 0.1 or said == pytest.approx(true, rel=0.2, abs=1e-6)


@pytest.mark.parametrize("device", list(FIRST_PRICES))
def test_the_first_job_is_told_truly_on_a_machine_like_those_that_were_measured(device, monkeypatch):
    monkeypatch.setitem(
        globals(), "TRUE", {phase: 1.7 * price for phase, price in FIRST_PRICES[device].items()}
    )
    for share, said, true in job(LARGE, kind=f"best on {device}"):
        assert share < 0.1 or said == pytest.approx(true, rel=0.2, abs=1e-6)


def test_a_phase_that_has_only_begun_is_not_believed():
    list(job(SMALL))
    reports = list(job(LARGE, slower=1.3, tells=wildly))
    whole = reports[0][2] / (1 - reports[0][0])
    assert [said for share, said, _ in reports if share >= 0.1 and said is None] == []
    assert max(abs(said - true) for share, said, true in reports if share >= 0.1) <= 0.2 * whole


def test_before_anything_is_known_of_a_machine_no_time_is_made_up():
    ahead = Ahead("best on cpu", {"quantize": 3e9})
    ahead.begin("analyse", 1e9)
    assert ahead.left(None, 1e7) is None
    assert ahead.left(2.0, 1e8) > 2.0


def test_another_mode_learns_for_itself():
    list(job(SMALL))
    list(job({"quantize": 3e9}, kind="fast on cpu"))
    assert set(read_prices()) == {"best on cpu", "fast on cpu"}
    assert set(read_prices()["fast on cpu"]) == {"quantize"}


def test_what_nobody_foresaw_says_nothing_of_what_comes():
    ahead = Ahead("best on cpu", {"quantize": 3e9})
    ahead.begin("hash", 1e9)
    assert ahead.left(2.0, 0.0) is None
    ahead.begin("quantize", 1e9)
    assert ahead.left(2.0, 0.0) == pytest.approx(2.0, rel=1e-3)


def test_a_cache_that_is_damaged_or_can_not_be_written_is_no_harm():
    prices_path().parent.mkdir(parents=True, exist_ok=True)
    for content in (b"{", b'{"best on cpu": "much"}', b"\xff"):
        prices_path().write_bytes(content)
        assert read_prices() == {}
    prices_path().unlink()
    prices_path().mkdir()
    list(job(SMALL))
    assert read_prices() == {}
    assert [path.name for path in prices_path().parent.iterdir()] == [prices_path().name]


def test_a_phase_that_is_over_at_once_teaches_nothing():
    list(job({phase: units / 1e3 for phase, units in SMALL.items()}))
    assert read_prices() == {}
    assert all(set(prices) == set(SMALL) for prices in FIRST_PRICES.values())
