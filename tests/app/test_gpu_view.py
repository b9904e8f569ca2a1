"""What the strip and the GPUs screen say of a reading."""

from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.app.area_graph import area
from fqconsole.app.gpu_history import GpuHistory
from fqconsole.app.gpu_layout import gpu_layout
from fqconsole.app.gpu_view import (
    copied_text,
    gpu_graphs,
    gpu_lines,
    held_words,
    mig_words,
    process_rows,
    without_gpu_lines,
    worker_names,
)
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.services import HostMemory
from fqconsole.app.widgets.gpu_strip import gpu_line, short_name
from fqconsole.jobs.messages import StartSession, WorkerStarted
from tests.app.fakes import GIB, FakeGpu, FakeProcess

HOST = HostMemory(3 * GIB, 24 * GIB)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("Tesla T4", "T4"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000"),
        ("", "GPU"),
    ],
)
def test_short_names(name, short):
    assert short_name(name) == short


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090", ""])
@pytest.mark.parametrize("reading", [0.0, 100.0, None])
def test_a_line_of_the_strip_has_eighty_cells(name, reading):
    gpu = FakeGpu(0, name=name, utilization=reading, power_watts=reading, temperature=reading)
    assert len(gpu_line(gpu, [reading], "(+6)")) == 80


def history(*readings):
    gpus = GpuHistory()
    for snapshots in readings:
        gpus.take(snapshots, HOST)
    return gpus


def test_series_hold_what_was_read_and_none_where_it_was_missing():
    gpus = history(
        (FakeGpu(0, utilization=5.0),), (), (FakeGpu(0, utilization=None),), (FakeGpu(0, utilization=7.0),)
    )
    assert gpus.series(0, "utilization") == [5.0, None, None, 7.0]


def test_events_tell_when_a_gpu_is_held_down_and_when_it_is_free_again():
    free, held = FakeGpu(0), FakeGpu(0, throttle=("power cap",))
    gpus = history((free,), (held,), (held,), (free,))
    assert [text for _t, text in gpus.events] == [
        "GPU 0 is held down: power cap (it draws as much power as it may)",
        "GPU 0 runs free again: power cap has ended",
    ]


def test_a_gpu_that_is_gone_is_an_event():
    assert [text for _t, text in history((FakeGpu(0), FakeGpu(1)), (FakeGpu(0),)).events] == [
        "GPU 1 is no longer visible"
    ]


def test_lines_of_a_gpu_fit_their_width_and_name_what_holds_it_down():
    gpu = FakeGpu(0, throttle=("power cap",), sm_clock_mhz=1755.0)
    lines = gpu_lines(gpu, history((gpu,)), 36)
    assert max(len(line) for line in lines) <= 36
    assert lines[2] == "73 of 700 W  35 °C  1,755 MHz"
    assert held_words(gpu) == "! power cap"


def test_what_cannot_be_read_is_not_available():
    names = ("memory_total", "memory_used", "utilization", "power_watts", "power_limit_watts", "temperature")
    gpu = FakeGpu(0, sm_clock_mhz=None, **dict.fromkeys(names))
    lines = gpu_lines(gpu, history((gpu,)), 36)
    assert lines[0].startswith("util    N/A ") and lines[1] == "mem     N/A"
    assert lines[2] == "power N/A  temp N/A  clock N/A"


def test_processes_name_ours_and_those_that_cannot_be_seen():
    gpus = (
        FakeGpu(
            0,
            processes=(
                FakeProcess(12, "jupyter", "other", GIB // 2, False),
                FakeProcess(7, "worker", "me", GIB, True),
            ),
        ),
        FakeGpu(1, processes=(FakeProcess(None, "not visible from this container", "?", None, False),)),
    )
    rows = [cells for _key, cells in process_rows(gpus, "memory")]
    assert rows[0] == ["0", "7", "  me", "1.0 GiB", "  worker  (ours)"]
    assert rows[2] == ["1", "?", "  ?", "N/A", "  not visible from this container"]
    assert [cells[0] for _key, cells in process_rows(gpus, "gpu")] == ["0", "0", "1"]
    keys = [key for key, _cells in process_rows(gpus, "user")]
    assert len(keys) == len(set(keys))


def test_without_a_gpu_the_reason_is_said_and_the_machine_is_drawn():
    gpus = GpuHistory()
    gpus.problem = "The NVIDIA driver is not loaded."
    for percent in (0.0, 50.0, 100.0):
        gpus.take((), HostMemory(3 * GIB, 24 * GIB, cpu=percent))
    lines = without_gpu_lines(gpus, 70, 8)
    assert lines[0] == "The NVIDIA driver is not loaded."
    assert len(lines) == 8 and max(map(len, lines)) <= 70
    assert lines[2].startswith("CPU  100 %") and lines[5].startswith("mem  3.0/24.0 GiB")
    assert lines[2].endswith("⢸") and lines[4].endswith(
        "⢀⣿"
    )  # half a cell reaches the top, the first one none


def test_nothing_read_of_the_machine_yet():
    assert without_gpu_lines(GpuHistory(), 60, 8)[0] == "No NVIDIA GPU was found."


def test_our_workers_are_named_by_their_runs_where_the_gpu_shows_them():
    worker = FakeProcess(77, "fqconsole worker", "root", GIB, True)
    other = FakeProcess(78, "fqconsole worker", "root", 1, True)
    gpu = FakeGpu(0, processes=(worker, other))
    rows = process_rows((gpu,), "memory", {77: "fqconsole worker r0043"})
    assert [cells[-1].strip() for _key, cells in rows] == [
        "fqconsole worker r0043  (ours)", "fqconsole worker  (ours)",
    ]  # fmt: skip
    gpus = GpuHistory()
    gpus.take((FakeGpu(0),), HOST, {})
    gpus.take((gpu,), HOST, {77: "fqconsole worker r0043"})
    gpus.take((FakeGpu(0),), HOST, {77: "fqconsole worker r0043"})
    said = [text for _t, text in gpus.events]
    assert "GPU 0 is used by fqconsole worker r0043 (process 77)" in said
    assert "GPU 0 is no longer used by fqconsole worker (process 78)" in said


def test_a_job_tells_the_process_and_the_run_of_its_worker():
    started = WorkerStarted(
        t=0.0, run_id="r0043", pid=77, device="cpu", device_name="", versions={}, protocol=1
    )
    quantize = JobHandle(1, "quantize", "demo → int4", StartSession("x"), 0.0, history=[started])
    quantize.request = SimpleNamespace(run_id="r0043")
    session = JobHandle(2, "session", "demo int4", StartSession("x"), 0.0, history=[replace_pid(started, 78)])
    ended = JobHandle(
        3, "session", "old", StartSession("x"), 0.0, history=[replace_pid(started, 79)], ended=1.0
    )
    assert worker_names([quantize, session, ended]) == {
        77: "fqconsole worker r0043", 78: "fqconsole worker demo int4",
    }  # fmt: skip


def replace_pid(started, pid):
    return msgspec.structs.replace(started, pid=pid)


SLICES = (
    SimpleNamespace(name="1g.10gb", uuid="MIG-1", memory_total=int(9.8 * GIB), memory_used=int(4.1 * GIB)),
    SimpleNamespace(name="3g.40gb", uuid="MIG-2", memory_total=None, memory_used=None),
)


def test_a_divided_gpu_shows_its_slices():
    gpu = FakeGpu(0, utilization=None, mig=SLICES)
    assert mig_words(gpu) == "MIG 1g.10gb 4.1/9.8  3g.40gb —/— GiB"
    assert gpu_graphs(gpu, history((gpu,)), 76, 8)[-2] == mig_words(gpu)
    assert gpu_lines(gpu, history((gpu,)), 36)[2] == mig_words(gpu)[:36]


NOTHING = dict.fromkeys(
    ("memory_total", "memory_used", "memory_free", "utilization", "power_watts", "power_limit_watts",
     "temperature", "sm_clock_mhz")
)  # fmt: skip


@pytest.mark.parametrize("changes", [{}, NOTHING, {"mig": SLICES}, {"power_limit_watts": None}])
@pytest.mark.parametrize(("width", "height"), [(36, 6), (76, 8), (196, 12)])
def test_graphs_fill_the_card_and_no_more(changes, width, height):
    gpu = FakeGpu(0, **changes)
    lines = gpu_graphs(gpu, history((gpu,), (gpu,)), width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("util  N/A" if changes is NOTHING else "util  0 %")


@pytest.mark.parametrize(
    ("count", "size", "look"),
    [
        (1, (80, 24), ("graphs", 1, 12)),
        (2, (80, 24), ("graphs", 2, 12)),
        (4, (80, 24), ("card", 2, 5)),
        (8, (80, 24), ("line", 1, 1)),
        (8, (120, 40), ("card", 3, 5)),
        (8, (200, 60), ("graphs", 5, 14)),
        (1, (200, 60), ("graphs", 1, 14)),
    ],
)
def test_the_more_gpus_the_smaller_each(count, size, look):
    assert gpu_layout(count, *size) == look
    rows = -(-count // look[1])
    assert rows * look[2] <= size[1] - 12


def test_what_is_copied_is_a_table_of_readings_and_one_of_processes():
    worker = FakeProcess(77, "python", "root", GIB, False)
    gpu = FakeGpu(0, processes=(worker,), throttle=("power cap",), temperature=None)
    text = copied_text((gpu,), process_rows((gpu,), "memory"))
    assert text.splitlines()[1].split("\t") == [
        "0", "NVIDIA H100 80GB HBM3", "0 %", "0.6/79.6 GiB", "73 W", "N/A", "345 MHz", "power cap",
    ]  # fmt: skip
    assert text.splitlines()[-1] == "0\t77\troot\t1.0 GiB\tpython"


@given(st.lists(st.none() | st.floats(0, 200), max_size=30), st.integers(1, 20), st.integers(1, 6))
def test_an_area_has_its_size_and_a_higher_reading_is_never_drawn_lower(values, width, height):
    lines = area(values, width, height, top=100)
    assert [len(line) for line in lines] == [width] * height
    full = area([100.0] * width * 2, width, height, top=100)
    assert full == ["⣿" * width] * height
    assert area([None] * 4, width, height, top=100) == [" " * width] * height
