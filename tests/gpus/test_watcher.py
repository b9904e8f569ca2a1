"""Sampling GPUs: what is read, what happens when it can't be, and who holds the memory."""

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.gpus import GpuWatcher, History, open_gpus
from fqconsole.gpus.nvml import HeldMemory, Nvml
from fqconsole.gpus.processes import HOST_NAMESPACE, holds_gpu, in_container, name_process
from fqconsole.gpus.snapshot import NOT_VISIBLE
from tests.gpus.fake_nvml import (
    MIB,
    READINGS,
    FakeNvml,
    NVMLError_DriverNotLoaded,
    NVMLError_GpuIsLost,
    NVMLError_LibraryNotFound,
    NVMLError_NotSupported,
    NVMLError_Unknown,
)


def watcher(clock=lambda: 100.0, **changes):
    return GpuWatcher(Nvml(FakeNvml(**changes)), clock)


def test_a_reading_of_two_gpus():
    found = watcher()
    assert (found.available, found.problem) == (True, "")
    first, second = found.sample()
    assert (first.index, second.index) == (0, 1)
    assert first.name == "NVIDIA H100 80GB HBM3"
    assert first.uuid.startswith("GPU-7bd1")
    assert (first.memory_total, first.memory_used, first.memory_free) == (81559 * MIB, 4 * MIB, 81005 * MIB)
    assert (first.utilization, first.temperature, first.sm_clock_mhz) == (97, 72, 1755)
    assert first.power_watts == pytest.approx(412.345)
    assert first.power_limit_watts == 700
    assert first.throttle == ("power cap",)
    assert first.t == 100.0
    assert not first.unified_memory


def test_memory_is_asked_by_version_2_which_does_not_count_the_reserve_as_used():
    module = FakeNvml()
    GpuWatcher(Nvml(module)).sample()
    asked = [arguments for name, arguments in module.asked if name == "nvmlDeviceGetMemoryInfo"]
    assert asked == [("handle 0", FakeNvml.nvmlMemory_v2), ("handle 1", FakeNvml.nvmlMemory_v2)]


def test_an_old_driver_without_version_2_is_asked_by_version_1():
    def memory(handle, version=None):
        del handle
        if version is not None:
            raise NVMLError_Unknown
        return SimpleNamespace(total=10, used=4, free=6)

    assert watcher(nvmlDeviceGetMemoryInfo=memory).sample()[0].memory_free == 6


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (NVMLError_LibraryNotFound(), "No NVIDIA driver"),
        (NVMLError_DriverNotLoaded(), "not loaded"),
        (NVMLError_Unknown(), "does not answer"),
        (OSError("broken library"), "does not answer"),
    ],
)
def test_without_a_driver_there_is_a_sentence(failure, says):
    found = watcher(nvmlInit=failure)
    assert not found.available
    assert says in found.problem
    assert found.problem.endswith(".")
    assert found.sample() == ()


def test_a_driver_without_gpus():
    found = watcher(nvmlDeviceGetCount=0)
    assert (found.available, found.sample()) == (False, ())
    assert "no GPU" in found.problem


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = open_gpus()
    assert (found.available, found.sample()) == (False, ())
    assert "nvidia-ml-py" in found.problem


def test_opening_on_this_machine_never_raises():
    found = open_gpus()
    assert found.available or found.problem
    assert isinstance(found.sample(), tuple)


FALLIBLE = [name for name in READINGS if name not in {"nvmlInit", "nvmlDeviceGetCount"}]


@given(
    st.dictionaries(
        st.sampled_from([*FALLIBLE, "nvmlDeviceGetHandleByIndex"]),
        st.sampled_from([NVMLError_NotSupported(), NVMLError_GpuIsLost(), NVMLError_Unknown(), OSError()])
        | st.sampled_from([None, "words", -1, 2**70, [], SimpleNamespace(), b"bytes"]),
    )
)
def test_any_reading_may_fail_or_be_strange(changes):
    for snapshot in watcher(**changes).sample():
        assert isinstance(snapshot.name, str)
        assert isinstance(snapshot.uuid, str)
        for reading in (
            snapshot.utilization,
            snapshot.power_watts,
            snapshot.temperature,
            snapshot.sm_clock_mhz,
        ):
            assert reading is None or isinstance(reading, float)
        assert isinstance(snapshot.throttle, tuple)


def test_a_gpu_lost_on_the_way_keeps_its_name_and_reads_nothing():
    module = FakeNvml()
    found = GpuWatcher(Nvml(module), lambda: 0.0)
    found.sample()
    for name in [*FALLIBLE, "nvmlDeviceGetHandleByIndex"]:
        module.readings[name] = NVMLError_GpuIsLost()
    first, _ = found.sample()
    assert first.name == "NVIDIA H100 80GB HBM3"
    assert (first.memory_free, first.utilization, first.power_watts, first.processes) == (
        None,
        None,
        None,
        (),
    )
    assert "no longer answers" in found.problem


def test_unified_memory_is_the_machines():
    snapshot = watcher(nvmlDeviceGetMemoryInfo=NVMLError_NotSupported()).sample()[0]
    assert snapshot.unified_memory
    assert snapshot.memory_total is not None
    assert snapshot.memory_free is not None
    assert 0 < snapshot.memory_free <= snapshot.memory_total
    broken = watcher(nvmlDeviceGetMemoryInfo=NVMLError_Unknown()).sample()[0]
    assert (broken.unified_memory, broken.memory_total) == (False, None)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (0, ()),
        (0x1, ()),
        (0x2 | 0x10 | 0x100, ()),
        (0x20 | 0x80, ("software thermal slowdown", "power brake")),
    ],
)
def test_only_what_holds_clocks_down_is_named(mask, words):
    assert watcher(nvmlDeviceGetCurrentClocksEventReasons=mask).sample()[0].throttle == words


def test_the_older_name_of_throttle_reasons():
    old = {"nvmlDeviceGetCurrentClocksEventReasons": None, "nvmlDeviceGetCurrentClocksThrottleReasons": 0x8}
    assert watcher(**old).sample()[0].throttle == ("hardware slowdown",)


def process(pid, memory):
    return SimpleNamespace(pid=pid, usedGpuMemory=memory)


def test_processes_are_named_and_ours_are_marked(monkeypatch):
    monkeypatch.setattr("fqconsole.gpus.processes.in_container", lambda proc: False)
    code = "import sys; sys.stdin.read()"
    command = [sys.executable, "-c", code, "-m", "fqconsole.jobs.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as worker:
        running = [process(os.getpid(), 2 * MIB), process(worker.pid, 53 * MIB), process(2**22 + 5, None)]
        first = watcher(nvmlDeviceGetComputeRunningProcesses=running).sample()[0]
        worker.communicate(b"")
    ours, mine, unknown = first.processes
    assert (ours.pid, ours.name, ours.ours, ours.memory_bytes) == (
        worker.pid,
        "fqconsole worker",
        True,
        53 * MIB,
    )
    assert (mine.pid, mine.ours) == (os.getpid(), False)
    assert mine.user not in {"", "?"}
    assert (unknown.pid, unknown.name, unknown.memory_bytes) == (None, NOT_VISIBLE, None)


def test_a_process_on_both_lists_counts_once_and_unavailable_memory_is_none():
    lists = {
        "nvmlDeviceGetComputeRunningProcesses": [process(7, 2**64 - 1)],
        "nvmlDeviceGetGraphicsRunningProcesses": [process(7, 5), process("?", 1)],
    }
    assert Nvml(FakeNvml(**lists)).processes("handle") == (HeldMemory(7, 5),)


def proc_folder(tmp_path, namespace, device):
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to(namespace)
    fds = tmp_path / str(os.getpid()) / "fd"
    fds.mkdir(parents=True)
    (fds / "3").symlink_to(device)
    return tmp_path


def test_in_a_container_a_hosts_id_is_not_taken_for_a_process_here(tmp_path):
    held = HeldMemory(os.getpid(), 5)
    other = proc_folder(tmp_path / "a", "pid:[4026532999]", "/dev/null")
    assert in_container(other)
    assert not holds_gpu(os.getpid(), other)
    assert name_process(held, other).name == NOT_VISIBLE
    same = proc_folder(tmp_path / "b", "pid:[4026532999]", "/dev/nvidia0")
    assert name_process(held, same).pid == os.getpid()
    host = proc_folder(tmp_path / "c", HOST_NAMESPACE, "/dev/null")
    assert name_process(held, host).pid == os.getpid()
    assert not in_container(tmp_path / "nothing")


def test_processes_are_named_again_only_after_a_while(monkeypatch):
    monkeypatch.setattr("fqconsole.gpus.processes.in_container", lambda proc: False)
    now = [0.0]
    module = FakeNvml(nvmlDeviceGetComputeRunningProcesses=[process(os.getpid(), 1)])
    found = GpuWatcher(Nvml(module), lambda: now[0])
    found.sample()
    module.readings["nvmlDeviceGetComputeRunningProcesses"] = []
    now[0] = 1.0
    assert len(found.sample()[0].processes) == 1
    now[0] = 2.5
    assert found.sample()[0].processes == ()


def test_sampling_from_threads():
    found = watcher()
    results = []
    threads = [threading.Thread(target=lambda: results.append(found.sample())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(len(snapshots) == 2 for snapshots in results)


def test_history_keeps_the_last_samples():
    history = History(length=3)
    for used in (1, 9, None, 4):
        memory = None if used is None else SimpleNamespace(total=10, used=used, free=10 - used)
        history.add(watcher(nvmlDeviceGetMemoryInfo=memory).sample())
    assert history.series(0, "memory_used") == (9, None, 4)
    assert history.peak_memory(0) == 9
    assert [snapshot.index for snapshot in history.latest()] == [0, 1]
    assert (history.series(7, "memory_used"), history.peak_memory(7)) == ((), None)


@pytest.mark.gpu
def test_a_real_gpu_reads():
    found = open_gpus()
    if not found.available:
        pytest.skip(found.problem)
    for snapshot in found.sample():
        assert snapshot.memory_total
        assert snapshot.memory_free is not None
        assert snapshot.memory_free <= snapshot.memory_total
        assert snapshot.temperature is None or 0 < snapshot.temperature < 120


def mig_nvml(**changes):
    def piece(_handle, index):
        if index == 1:
            raise NVMLError_NotSupported
        return f"slice {index}"

    def name(handle):
        return (
            "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
            if str(handle).startswith("slice")
            else "NVIDIA H100 80GB HBM3"
        )

    readings = {
        "nvmlDeviceGetMigMode": [1, 1],
        "nvmlDeviceGetMaxMigDeviceCount": 3,
        "nvmlDeviceGetMigDeviceHandleByIndex": piece,
        "nvmlDeviceGetName": name,
    }
    return FakeNvml(**(readings | changes))


def test_a_gpu_that_mig_divides_tells_its_slices():
    (gpu, _second) = GpuWatcher(Nvml(mig_nvml())).sample()
    assert [piece.name for piece in gpu.mig] == ["1g.10gb", "1g.10gb"]
    assert gpu.mig[0].memory_total == 81559 * MIB
    assert gpu.mig[0].uuid


@pytest.mark.parametrize("mode", [[0, 0], [0, 1], NVMLError_NotSupported(), None])
def test_a_whole_gpu_has_no_slices(mode):
    (gpu, _second) = GpuWatcher(Nvml(mig_nvml(nvmlDeviceGetMigMode=mode))).sample()
    assert gpu.mig == ()
