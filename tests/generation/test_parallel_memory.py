"""Memory that runs out on one of several processes: said with the numbers, and all go on together."""

import sys

import psutil
import pytest
import torch

from fqconsole.errors import DeviceError
from fqconsole.generation.options import Sampling
from fqconsole.generation.parallel import ranks
from fqconsole.generation.session import open_session
from fqconsole.jobs.failures import failure_of

pytestmark = pytest.mark.slow

GREEDY = Sampling(temperature=0, max_new_tokens=6)
SAID = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 79.10 GiB of which "
    "1.50 GiB is free."
)
# A rank whose sum fails with {error} in the order {do}, once.
SHORT = """
import torch
from fqconsole.generation.parallel import follower
from fqconsole.generation.parallel.link import Link
from fqconsole.generation.parallel.rank import Follower

left, inside, order, add = [1], [False], Follower.{do}, Link.sum

def at_work(self, given):
    inside[0] = True
    try:
        return order(self, given)
    finally:
        inside[0] = False

def sum(self, partial):
    if inside[0] and left[0]:
        left[0] -= 1
        raise {error}
    return add(self, partial)

Follower.{do}, Link.sum = at_work, sum
follower.main()
"""


@pytest.fixture
def rank_that_fails(tmp_path, monkeypatch):
    """Other ranks fail in the middle of an order."""

    def arrange(do, error):
        script = tmp_path / "rank.py"
        script.write_text(SHORT.format(do=do, error=error))
        monkeypatch.setattr(ranks, "FOLLOWER", (sys.executable, "-P", str(script)))

    return arrange


def opened(folder, **more):
    return open_session(folder, device="cpu", context=64, gpus=2, answers=False, **more)


@pytest.fixture
def alone(tiny):
    with open_session(tiny("llama")[1], device="cpu", context=64) as session:
        ids = session.render("Mara gave the red lamp")[1]
        return ids, session.generate(ids, GREEDY).token_ids, session.logits(torch.tensor([ids]))


def test_memory_that_runs_out_ends_the_answer_and_not_the_session(tiny, alone, rank_that_fails, monkeypatch):
    rank_that_fails("step", f"torch.OutOfMemoryError({SAID!r})")
    ids, expected, logits = alone
    with opened(tiny("llama")[1]) as session:
        pids = session.ranks.pids
        with pytest.raises(torch.OutOfMemoryError) as found:
            session.generate(ids, GREEDY)
        told = failure_of(found.value, "r1", "Send a shorter prompt.")
        free = "1.50 GiB of 79.10 GiB is free"
        assert told.what == f"GPU 1 ran out of memory: 2.00 GiB more was asked for, {free}."
        assert (told.code, told.next_step) == ("out_of_memory", "Send a shorter prompt.")
        assert session.generate(ids, GREEDY).token_ids == expected
        session.resize(32)
        assert session.generate(ids, GREEDY).token_ids == expected

        def fail(partial):  # the leading rank
            monkeypatch.undo()
            raise torch.OutOfMemoryError(SAID)

        monkeypatch.setattr(session.ranks.link, "sum", fail)
        with pytest.raises(torch.OutOfMemoryError, match=r"2\.00 GiB"):
            session.logits(torch.tensor([ids]))
        measured = session.logits(torch.tensor([ids]))
        assert (measured - logits).abs().max() < 0.05 * logits.abs().max()
        assert session.generate(ids, GREEDY).token_ids == expected
        assert session.ranks.pids == pids


def test_layers_on_a_cpu_end_together_when_memory_runs_out(tiny, alone, monkeypatch):
    with opened(tiny("llama")[1], split="layer") as session:

        def fail(tensor):
            raise torch.OutOfMemoryError(SAID)

        monkeypatch.setattr(session.ranks.link, "send", fail)
        with pytest.raises(DeviceError, match="can't go on together: CUDA out of memory"):
            session.generate(alone[0], GREEDY)
        assert not any(psutil.pid_exists(pid) for pid in session.ranks.pids)
