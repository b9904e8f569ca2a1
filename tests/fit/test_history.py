"""What runs teach: the runtime term and the error, never the arithmetic."""

import msgspec
import pytest

from fqconsole.fit import Capacity, explain, preview
from fqconsole.fit.history import LEAST_RUNS, error_of, learned
from fqconsole.fit.probe import version_of
from store import MemoryPair
from tests.fit.synthetic import llama

MIB = 1 << 20
HOST = Capacity("this machine's memory", 64 << 30, 32 << 30, "host")
H200 = Capacity("H200", 140 << 30, 139 << 30, "gpu")


def run(number, *, runtime=(512, 400), rest=(100, 100), gpu=None, device="AMD EPYC", torch=None):
    """A run whose runtime and everything else were predicted and measured so, in MiB."""
    terms = {
        "weights": rest,
        "runtime": runtime,
        "total": (runtime[0] + rest[0], runtime[1] + rest[1]),
    }
    scaled = {word: (predicted * MIB, measured * MIB) for word, (predicted, measured) in terms.items()}
    versions = {"torch": torch or version_of("torch")}
    return MemoryPair(f"r{number:04d}", 0.0, "demo", 4, gpu, device, versions, scaled)


def test_the_runtime_becomes_the_median_of_what_was_measured():
    history = [run(n, runtime=(512, measured)) for n, measured in enumerate((400, 390, 700))]
    found = learned(HOST, history)
    assert found.runtime.bytes == 400 * MIB
    assert found.runtime.origin == "measured"
    assert "3 runs" in found.runtime.detail
    before, after = (preview(llama(), place, bits=(4,)).options[0] for place in (HOST, found))
    assert after.runtime_bytes == 400 * MIB
    assert (after.weights_bytes, after.kv_bytes, after.activation_bytes) == (
        before.weights_bytes, before.kv_bytes, before.activation_bytes,
    )  # fmt: skip


def test_totals_that_came_out_larger_are_asked_for_and_smaller_ones_are_not_given_away():
    larger = learned(HOST, [run(n, runtime=(400, 400), rest=(1000, 1100)) for n in range(4)])
    assert larger.runtime.bytes == 500 * MIB
    smaller = learned(HOST, [run(n, runtime=(400, 400), rest=(1000, 800)) for n in range(4)])
    assert smaller.runtime.bytes == 400 * MIB
    assert smaller.accuracy.median == pytest.approx(-200 / 1400)


def test_the_error_is_that_of_the_preview_as_it_is_now():
    """A run that was predicted with the default is judged with what was learned since."""
    found = learned(HOST, [run(n) for n in range(5)])
    assert found.accuracy.runs == 5
    assert found.accuracy.most == found.accuracy.median == 0
    assert error_of(run(0)) == pytest.approx(-112 / 612)


def test_nothing_is_learned_of_few_runs_of_other_places_or_versions():
    few = [run(n) for n in range(LEAST_RUNS - 1)]
    elsewhere = [run(n, gpu=0, device="NVIDIA H200") for n in range(9)]
    older = [run(n, torch="2.0") for n in range(9)]
    assert learned(HOST, [*few, *elsewhere, *older]) == HOST
    assert learned(H200, [run(n) for n in range(9)]) == H200
    assert learned(H200, elsewhere).accuracy.runs == 9
    not_here = msgspec.structs.replace(H200, kind="named gpu")
    assert learned(not_here, elsewhere) == not_here


def test_without_a_measured_runtime_there_is_an_error_and_no_correction():
    bare = [
        msgspec.structs.replace(run(n, gpu=0, device="NVIDIA H200"), terms={"total": (100 * MIB, 101 * MIB)})
        for n in range(4)
    ]
    found = learned(H200, bare)
    assert found.runtime is None
    assert found.accuracy.most == pytest.approx(0.01)
    shown = preview(llama(), found, bits=(4,), gpu_counts=(1,))
    assert any("± 1.0%" in line and "4 runs" in line for line in explain(shown, shown.options[0]))


def test_what_nccl_keeps_is_learned_from_sessions_on_several_gpus():
    def several(number, count):
        pair = run(number, gpu=0, device="NVIDIA H200")
        return msgspec.structs.replace(pair, terms={"exchange": (400 * MIB, count * MIB)})

    history = [several(n, count) for n, count in enumerate((300, 310, 900))]
    assert learned(H200, history[:2]).exchange is None
    found = learned(H200, history)
    assert (found.exchange.bytes, found.exchange.origin) == (310 * MIB, "measured")
    assert found.runtime is None  # nothing else of such runs counts
    (option,) = preview(llama(), found, bits=(4,), gpu_counts=(2,)).options
    assert found.exchange in option.terms
    assert option.exchange_bytes == 310 * MIB
