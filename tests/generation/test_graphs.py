"""A step is captured once for each number of texts, at tensors that stay in place; the GPU is a stand-in."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from fqconsole.generation.assembly import assemble
from fqconsole.generation.graphs import WARM_RUNS, StepGraphs, side_stream
from fqconsole.generation.static_cache import StaticCache
from tests.generation.test_families import CPU, tiny_model


class StandInStream:
    def __init__(self, device=None):
        self.device = device

    def wait_stream(self, other):
        assert isinstance(other, StandInStream)


class StandInGraph:
    replays = 0

    def replay(self):
        self.replays += 1


@pytest.fixture
def graphs(monkeypatch):
    asides = []  # the streams of warm-ups and captures, in turn

    @contextmanager
    def within(*args, stream=None, **kwargs):
        asides.append(stream or args[0])
        yield

    side_stream.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", StandInStream)
    monkeypatch.setattr(torch.cuda, "current_stream", StandInStream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", StandInGraph)
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "graph", within)
    decoder = assemble(tiny_model("llama"), torch.float32, CPU)
    made = StepGraphs(decoder, StaticCache(decoder, 3, 16))
    made._decoder = replace(decoder, device=torch.device("cuda"))
    made.asides = asides
    yield made
    side_stream.cache_clear()


def test_a_step_is_captured_once_for_each_number_of_texts(graphs, monkeypatch):
    runs = []
    step = graphs._step
    monkeypatch.setattr(graphs, "_step", lambda batch: runs.append(batch) or step(batch))
    with torch.inference_mode():
        first = graphs.run(torch.tensor([5]), 0)
        again = graphs.run(torch.tensor([6]), 1)
        pair = graphs.run(torch.tensor([5, 6]), torch.tensor([2, 1]))
        graphs.run(torch.tensor([7, 8]), torch.tensor([3, 2]))
    assert runs == [1] * (WARM_RUNS + 1) + [2] * (WARM_RUNS + 1)
    assert again is first  # where each replay leaves its logits
    assert [graphs._captured[batch].graph.replays for batch in (1, 2)] == [2, 2]
    assert pair.shape[0] == 2
    # All on one stream: cuBLAS keeps 32 MiB for each.
    assert len(graphs.asides) == 4
    assert len({id(stream) for stream in graphs.asides}) == 1


def test_each_run_puts_its_inputs_where_the_graph_reads_them(graphs):
    with torch.inference_mode():
        graphs.run(torch.tensor([5, 6]), torch.tensor([2, 1]))
        places = graphs._tokens.data_ptr(), graphs._positions.data_ptr()
        graphs.run(torch.tensor([9]), 7)
    assert (graphs._tokens.data_ptr(), graphs._positions.data_ptr()) == places
    tokens, where = graphs.last_inputs()
    assert tokens.tolist() == [9]
    assert where.positions.tolist() == [7]
    assert where.lengths.tolist() == [8]


def test_without_a_gpu_the_step_runs_as_it_is():
    decoder = assemble(tiny_model("llama"), torch.float32, CPU)
    graphs = StepGraphs(decoder, StaticCache(decoder, 1, 16))
    with torch.inference_mode():
        assert graphs.run(torch.tensor([5]), 0).shape == (1, decoder.head.n)
    assert not graphs._captured
