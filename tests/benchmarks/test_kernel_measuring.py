"""The measuring itself on the CPU, with small layers and a stopwatch that only calls."""

import math
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from benchmarks.kernels import experts, measure, run, timing
from benchmarks.kernels.checks import (
    measure_accuracy,
    measure_determinism,
    measure_peer_determinism,
    shapes_for,
)
from benchmarks.kernels.layers import CLASSES, MAIN, SCHEMES, Experts, Layer, Scheme
from benchmarks.kernels.peers import Packed, Peer, UnsupportedError
from benchmarks.kernels.points import CUBLAS, OURS, Record
from benchmarks.kernels.routing import random_routings, stacks_needed
from benchmarks.kernels.timing import Budget, calls_in_graph, copies_of, replays_for
from benchmarks.kernels.weights import checked_error, random_rows, random_weights, relative_error
from benchmarks.kernels.work import Work, sentence_of
from tests.benchmarks.kernel_records import roof

BF16 = torch.bfloat16
LAYERS = (Layer("Small", "up", 256, 128), Layer("Small", "down", 128, 256))
MIXTURE = Experts("Mixture", 4, 2, 128, 128)


@pytest.fixture
def few_copies(monkeypatch):
    """Two copies are enough where no L2 is cold."""
    monkeypatch.setattr(timing, "COLD_BYTES", 1)
    monkeypatch.setattr("benchmarks.kernels.routing.COLD_BYTES", 1)


@pytest.fixture
def small_shapes(monkeypatch):
    """Shapes to check that a CPU multiplies at once."""
    for name, value in (
        ("DETERMINISM_SHAPE", (64, 128)), ("USUAL_SHAPE", (64, 128)), ("RAGGED_SHAPES", ((11, 3),))
    ):  # fmt: skip
        monkeypatch.setattr(f"benchmarks.kernels.checks.{name}", value)


def calling(calls) -> float:
    for call in calls:
        call()
    return float(len(calls))


def work(rows=(1, 5), seconds=1e9) -> Work:
    return Work(Record({}, roof()), Budget(seconds), rows, device="cpu", time=calling)


class Honest(Peer):
    """Multiplies right, in 4 bits only."""

    name = "honest"
    dtypes = (BF16,)
    off = 0.0

    def open(self) -> str:
        return "1"

    def pack(self, weights) -> Packed:
        if weights.scheme.bits != 4:
            raise UnsupportedError("4 bits only")
        dense = weights.dequantize(BF16) * (1 + self.off)
        return Packed({"dense": dense}, lambda tensors, x: x @ tensors["dense"].mT)

    def check_rows(self, weights, rows) -> None:
        if rows == 7:
            raise UnsupportedError("no sevens")


class Wrong(Honest):
    name = "wrong"
    off = 0.1


class Broken(Honest):
    name = "broken"

    def pack(self, weights) -> Packed:
        raise RuntimeError("no\nluck")


@pytest.mark.usefixtures("few_copies")
def test_cublas_ours_and_peers_leave_one_point_a_layer_and_number_of_rows():
    made = work()
    measure.measure_cublas(made, LAYERS, BF16)
    measure.measure_ours(made, LAYERS, MAIN, BF16)
    measure.measure_peer(made, Honest(), LAYERS, MAIN)
    for who, scheme in ((CUBLAS, ""), (OURS, MAIN.label), ("honest", MAIN.label)):
        assert set(made.record.times(who, scheme, "bf16")) == {(e.label, m) for e in LAYERS for m in (1, 5)}
    assert made.record.notes == []
    ours = made.record.times(OURS, MAIN.label, "bf16")[LAYERS[0].label, 5]
    assert 0 < ours.error < 4e-3
    assert ours.bytes > 0


@pytest.mark.usefixtures("few_copies")
def test_what_a_peer_cannot_do_is_a_sentence_and_no_point():
    made = work(rows=(1, 7))
    for peer, scheme in ((Wrong(), MAIN), (Broken(), MAIN), (Honest(), Scheme(8, None)), (Honest(), MAIN)):
        measure.measure_peer(made, peer, LAYERS[:1], scheme)
    assert [(p.who, p.rows) for p in made.record.points] == [("honest", 1)]
    assert made.record.notes[0].startswith("wrong int4-128 Small up M=1 is left out: relative error 1.0e-01")
    assert "broken int4-128 Small up failed: RuntimeError: no luck" in made.record.notes
    assert "honest int8-channel: 4 bits only" in made.record.notes
    assert "honest int4-128 Small up: no sevens" in made.record.notes


@pytest.mark.usefixtures("few_copies")
def test_a_wrong_product_of_ours_is_kept_and_named(monkeypatch):
    monkeypatch.setattr(measure, "multiply_of", lambda matrix: lambda x: matrix.multiply(x, None) * 1.1)
    made = work(rows=(1,))
    measure.measure_ours(made, LAYERS[:1], MAIN, BF16)
    assert len(made.record.points) == 1
    assert "ours int4-128 bf16 Small up M=1 is WRONG: relative error 1.0e-01" in made.record.notes


@pytest.mark.usefixtures("few_copies")
def test_without_time_nothing_begins_and_all_is_named():
    made = work(seconds=0.0)
    measure.measure_cublas(made, LAYERS, BF16)
    measure.measure_ours(made, LAYERS, MAIN, BF16)
    assert made.record.points == []
    assert len(made.budget.left_out) == 4


@pytest.mark.usefixtures("few_copies")
def test_a_chain_feeds_each_linear_from_the_one_before():
    made = work()
    measure.measure_chain(made, LAYERS, [1, 2], MAIN, BF16)
    assert set(made.record.figures) == {"chain int4-128 bf16 M=1", "chain int4-128 bf16 M=2"}


@pytest.mark.usefixtures("small_shapes")
def test_errors_and_repetition_of_our_products():
    made = work(rows=(1, 4096))
    few = [Scheme(4, 64), Scheme(8, None)]
    measure_accuracy(made, few, [BF16])
    measure_determinism(made, MAIN, BF16)
    measure_peer_determinism(made, Honest(), MAIN)
    assert {entry.rows for entry in made.record.accuracy} == {1, 3, 17, 100}  # 4096 only repeats
    assert all(0 < entry.error < 4e-3 for entry in made.record.accuracy)
    assert made.record.determinism["ours int4-128 bf16 M=16"]
    assert made.record.determinism["honest int4-128 bf16 M=256"]


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.label)
def test_shapes_to_check_suit_the_scheme_and_are_ragged(scheme):
    shapes = shapes_for(scheme)
    assert all(k % (scheme.group_size or 1) == 0 for _, k in shapes)
    assert any(n % 64 and k % 128 for n, k in shapes) or scheme.group_size == 128


@pytest.mark.usefixtures("few_copies")
def test_experts_of_ours_agree_with_grouped_products_and_with_transformers():
    made = work()
    stacks = experts.Stacks(MIXTURE, Scheme(4, 32), "cpu")
    setting = experts.Setting(stacks, "gate_up", 3, "cpu")
    experts.time_products(made, setting, setting.products())
    experts.measure_block(made, stacks, 3)
    assert made.record.notes == []
    found = {(p.who, p.what) for p in made.record.experts}
    assert found >= {(who, "gate_up") for who in (OURS, "grouped_mm", "grouped_mm + sort", "batched_mm")}
    assert found >= {(who, "block") for who in (OURS, "transformers grouped_mm", "transformers batched_mm")}


def test_one_token_meets_every_expert_before_one_comes_again():
    routings = random_routings(Experts("Many", 16, 4, 1, 1), 1, stacks=2, expert_bytes=10 << 20)
    for stack in (0, 1):
        met = [e for r in routings if r.stack == stack for e in r.flat]
        for start in range(0, len(met) - 15, 16):
            assert sorted(met[start : start + 16]) == list(range(16))


def test_tokens_go_to_different_experts_of_their_own():
    routing = random_routings(Experts("Many", 16, 4, 1, 1), 50, stacks=1, expert_bytes=1 << 20)[0]
    assert len(routing.flat) == 200 and routing.touched == 16
    assert all(len(set(token)) == 4 for token in routing.choices)
    assert stacks_needed(timing.COLD_BYTES // 2 + 1) == 2


def test_a_time_is_the_middle_of_replays_through_the_calls(monkeypatch):
    """The clock is a counter: a call takes 1 ms, a replay what was captured, every third one 9 ms more."""
    clock = SimpleNamespace(ms=0.0, replays=0, captured=None)

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = clock.ms

        def elapsed_time(self, other) -> float:
            return other.at - self.at

    class Graph:
        calls = 0

        def replay(self) -> None:
            clock.replays += 1
            clock.ms += self.calls + (9 if clock.replays % 3 == 0 else 0)

    @contextmanager
    def capture(graph):
        clock.captured = graph
        yield
        clock.captured = None

    def call() -> None:
        if clock.captured is not None:
            clock.captured.calls += 1
        else:
            clock.ms += 1

    for name, value in (
        ("Event", Event), ("CUDAGraph", Graph), ("graph", capture), ("synchronize", lambda: None)
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    assert timing.microseconds_of([call, partial(call)] * 3) == pytest.approx(1000.0)
    assert clock.replays == 2 + 5  # one to warm, one to count by, five timed

    def slow() -> None:
        clock.ms += 100

    assert timing.microseconds_of([slow] * 4) == pytest.approx(100_000.0)
    assert clock.replays == 7  # without a graph


def test_copies_of_a_weight_fill_more_than_the_cache():
    assert copies_of(timing.COLD_BYTES) == 2
    assert copies_of(10 << 20) * (10 << 20) >= timing.COLD_BYTES
    assert calls_in_graph(2, 1) == 12 and calls_in_graph(2, 4096) == 2 and calls_in_graph(30, 1) == 30
    assert replays_for(100.0) == 5 and replays_for(0.01) == 25 and replays_for(1.0) == 12


def test_a_budget_names_what_it_refuses():
    budget = Budget(10.0)
    assert budget.allows("first")
    assert not budget.allows("second", seconds=11.0)
    assert budget.left_out == ["second"]


def test_random_weights_pack_and_come_back():
    weights = random_weights(40, 128, Scheme(3, 64), torch.float16, "cpu")
    assert torch.equal(weights.packed().unpack(), weights.codes)
    assert torch.equal(weights.packed().dequantize(torch.float32), weights.dequantize(torch.float32))
    assert int(weights.codes.min()) == -3 and int(weights.codes.max()) == 3
    assert 0.015 < float(weights.dequantize(torch.float32).std()) < 0.025


def test_a_wrong_row_is_found_wherever_it_is_checked():
    weights = torch.randn(16, 8)
    x = random_rows(100, 8, torch.float32, "cpu")
    assert checked_error(lambda x: x @ weights.mT, x, weights) < 1e-6
    assert checked_error(lambda x: x @ weights.mT * 1.01, x, weights) == pytest.approx(0.01, rel=1e-3)
    broken = weights.clone()
    broken[3] += 1
    assert checked_error(lambda x: x @ broken.mT, x, weights) > 0.05
    assert math.isnan(relative_error(torch.full((2,), math.nan), torch.ones(2)))


def test_an_exception_becomes_one_short_line():
    assert sentence_of(ValueError("a\n b")) == "ValueError: a b"
    assert sentence_of(ValueError()) == "ValueError"
    assert len(sentence_of(ValueError("x" * 1000))) < 200


@pytest.mark.usefixtures("few_copies", "small_shapes")
def test_every_step_of_a_run_runs(monkeypatch):
    monkeypatch.setitem(CLASSES, "llama-attention", LAYERS)
    monkeypatch.setattr(run, "LLAMA", LAYERS)
    monkeypatch.setattr(run, "MIXTURES", (MIXTURE,))
    monkeypatch.setattr(experts, "EXPERT_BATCHES", (1, 3))
    made = work(rows=(1, 3))
    choice = run.Choice(
        rows=made.rows,
        classes=("llama-attention",),
        schemes=(MAIN, Scheme(3, 64)),
        dtypes=(BF16, torch.float16),
        peers=(),
        peer_schemes=(MAIN, Scheme(3, 64)),
        parts=run.PARTS,
        seconds=1e9,
        quick=False,
        tune_peers=False,
    )
    on_gpu = {"host", "first call"}
    for part, measure_part in [*run.own_steps(made, choice), *run.peer_steps(made, choice, [Honest()])]:
        if part not in on_gpu:
            run.attempt(made, part, measure_part)
    # The CPU path wants bfloat16 where it has vector code, so float16 of ours may fail there, and only that.
    assert [n for n in made.record.notes if "fp16" not in n and n != "honest int3-64: 4 bits only"] == []
    kinds = {(p.who, p.scheme, p.dtype) for p in made.record.points}
    assert kinds >= {(OURS, "int4-128", "bf16"), (OURS, "int3-64", "bf16"), ("honest", "int4-128", "bf16")}
    assert {(CUBLAS, "", "bf16"), (CUBLAS, "", "fp16")} <= kinds
    assert made.record.experts and made.record.accuracy and made.record.determinism and made.record.figures
