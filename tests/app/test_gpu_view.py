"""What the strip and the GPUs screen say of a reading."""

import pytest

from fqconsole.app.gpu_history import GpuHistory
from fqconsole.app.gpu_view import gpu_lines, held_words, process_rows, without_gpu_lines
from fqconsole.app.services import HostMemory
from fqconsole.app.widgets.gpu_strip import gpu_line, short_name
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
        "GPU 0 is held down: power cap",
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
    assert lines[1] == "mem     N/A"
    assert lines[2] == "N/A W  N/A °C  N/A MHz"


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


def test_without_a_gpu_the_reason_is_said():
    lines = without_gpu_lines("The NVIDIA driver is not loaded.", HOST)
    assert lines[0] == "The NVIDIA driver is not loaded."
    assert lines[-1] == "host memory  3.0 / 24.0 GiB used"
    assert without_gpu_lines("", None)[0] == "No NVIDIA GPU was found."
