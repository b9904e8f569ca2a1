"""A probe is kept for its driver, GPU, torch and triton, and read by previews of that device alone."""

import msgspec
import pytest

from fqconsole.fit import Capacity, named_gpu
from fqconsole.fit.probe import (
    Probe,
    host_name,
    keep_probe,
    kept_probes,
    probed,
    probes_file,
    runtime_term,
    version_of,
)

MIB = 1 << 20
GPU = Capacity("H200", 140 << 30, 139 << 30, "gpu", (139 << 30, 100 << 30), driver="570.86")
HOST = Capacity("this machine's memory", 64 << 30, 32 << 30, "host")


def probe(**changes):
    known = {
        "device": "H200", "driver": "570.86", "torch": version_of("torch"), "triton": version_of("triton"),
        "t": 0.0, "process_bytes": 900 * MIB, "context_bytes": 500 * MIB, "kernels_bytes": 80 * MIB,
        "workspace_bytes": 20 * MIB, "bandwidth": 4 * 10**12,
    }  # fmt: skip
    return Probe(**{**known, **changes})


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FQCONSOLE_HOME", str(tmp_path))


def test_it_replaces_the_default_where_it_was_measured():
    assert probed(GPU) == GPU
    keep_probe(probe())
    found = probed(GPU)
    assert found.runtime.bytes == 580 * MIB  # workspaces are counted with the activations
    assert found.runtime.origin == "measured"
    assert found.bandwidth_per_gpu == (4 * 10**12,)
    assert found.bandwidths(2) == (4 * 10**12, 4 * 10**12)
    assert found.bandwidth_source == "probed here"
    assert probed(HOST) == HOST
    assert probed(named_gpu("h200-141gb")) == named_gpu("h200-141gb")


@pytest.mark.parametrize("change", [{"device": "H100"}, {"driver": "1"}, {"torch": "1"}, {"triton": "1"}])
def test_another_driver_gpu_torch_or_triton_is_another_probe(change):
    keep_probe(probe(**change))
    assert probed(GPU) == GPU
    keep_probe(probe())
    assert len(kept_probes()) == 2
    keep_probe(probe(context_bytes=1))
    assert len(kept_probes()) == 2
    assert probed(GPU).runtime.bytes == 1 + 80 * MIB


def test_the_host_has_its_process_and_so_has_a_machine_with_one_memory():
    keep_probe(probe(device=host_name(), driver=""))
    assert probed(HOST).runtime.bytes == 900 * MIB
    assert runtime_term(probe(), unified=True).bytes == 1480 * MIB


@pytest.mark.parametrize("written", [b"", b"{}", b"[1]", b"\xff"])
def test_a_file_that_can_not_be_read_is_no_probe(written):
    probes_file().parent.mkdir(parents=True)
    probes_file().write_bytes(written)
    assert kept_probes() == ()
    keep_probe(probe())
    assert msgspec.json.decode(probes_file().read_bytes())[0]["device"] == "H200"
