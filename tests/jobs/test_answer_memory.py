"""What is measured of a session on several GPUs."""

from types import SimpleNamespace

import pytest

from fqconsole.fit import Capacity, Term
from fqconsole.jobs import answer_memory
from fqconsole.jobs.answer_memory import AnswerMemory
from tests.fit.synthetic import llama

MIB = 1 << 20
PROBED = Term("CUDA + Triton", 600 * MIB, "measured", "probed here")


@pytest.fixture
def memory(monkeypatch):
    def made(held, runtime):
        here = Capacity("H200", 140 << 30, 139 << 30, "gpu", runtime=runtime)
        monkeypatch.setattr(answer_memory, "held_beside_torch", lambda gpu: held)
        monkeypatch.setattr(AnswerMemory, "_capacity", lambda self: here)
        session = SimpleNamespace(device="cuda:0", weights_bytes=1000, kv_bits=16)
        return AnswerMemory(session, llama())

    return made


def test_what_a_process_holds_beyond_its_runtime_is_what_nccl_keeps(memory):
    (event,) = memory(950 * MIB, PROBED).exchange("r0001")
    assert (event.term, event.gpu, event.bytes) == ("exchange", 0, 350 * MIB)
    assert event.predicted == int(0.4 * (1 << 30))


@pytest.mark.parametrize(("held", "runtime"), [(None, PROBED), (950 * MIB, None)])
def test_without_a_reading_or_a_probe_nothing_is_claimed(memory, held, runtime):
    assert memory(held, runtime).exchange("r0001") == []
