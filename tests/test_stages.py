"""A start's time by stages, and the collector that an import does not wait for."""

import gc

from fqconsole.collector import uncollected
from fqconsole.stages import Stages


def test_each_stage_has_what_passed_since_the_one_before():
    now = iter([10.0, 11.0, 13.5, 14.0, 17.0])
    stages = Stages(lambda: next(now))
    stages.ended("read")
    stages.ended("prepare")
    stages.ended("read")
    assert stages.lap() == 3.0
    stages.add("prepare", 1.0)
    assert stages.seconds == {"read": 1.5, "prepare": 3.5}


def test_the_first_stage_may_have_begun_before():
    stages = Stages(lambda: 12.0, since=10.5)
    stages.ended("imports")
    assert stages.seconds == {"imports": 1.5}


def test_the_collector_is_as_it_was():
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
