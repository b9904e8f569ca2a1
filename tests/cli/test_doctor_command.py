"""`fqconsole doctor`, `gpus`, `paths` and `shot`."""

import importlib.metadata
import json
import xml.etree.ElementTree as ET

import pytest

from fqconsole import paths
from fqconsole.cli import checkup, checkup_gpu
from fqconsole.gpus import GpuProcess, GpuSnapshot


class Watcher:
    """Two GPUs, one of which can't be read."""

    available = True
    problem = ""

    def sample(self):
        held = GpuProcess(
            pid=None, name="not visible from this container", user="", memory_bytes=None, ours=False
        )
        return (
            GpuSnapshot(
                0,
                "NVIDIA H100",
                "GPU-0",
                memory_total=2**36,
                memory_used=2**30,
                memory_free=2**36 - 2**30,
                utilization=97.0,
                power_watts=412.0,
                throttle=("power cap",),
                processes=(held,),
            ),
            GpuSnapshot(1, "NVIDIA H100", "GPU-1"),
        )


@pytest.fixture
def installed(monkeypatch):
    """`installed(torch="2.9.0", triton=None)` pretends these versions."""

    def pretend(**versions):
        real = importlib.metadata.version

        def version(name):
            if name in versions and versions[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions.get(name) or real(name)

        monkeypatch.setattr(importlib.metadata, "version", version)
        return {finding.name: finding for finding in checkup.software()}

    return pretend


def test_a_working_installation_passes(fq):
    said = fq("doctor", "--json")
    assert said.code == 0, said.out
    assert {"python", "torch", "kernels", "gpu", "memory", "checkpoints"} <= {
        c["name"] for c in said.json["checks"]
    }
    assert not [check for check in said.json["checks"] if check["status"] == "problem"]


def test_a_missing_package_says_what_to_type(installed):
    found = installed(torch=None)["torch"]
    assert found.status == "problem"
    assert 'pip install "torch>=2.11"' in found.next_step


def test_an_old_version_is_a_problem_and_a_new_one_a_note(installed):
    found = installed(torch="2.10.1", transformers="5.99.0")
    assert (found["torch"].status, found["transformers"].status) == ("problem", "note")


def test_the_hubs_kernels_package_is_a_problem(installed):
    found = installed(kernels="0.18.2")["kernels"]
    assert found.status == "problem"
    assert "pip uninstall kernels" in found.next_step


def test_a_problem_is_exit_code_1(fq, monkeypatch):
    broken = checkup.Finding("torch", "problem", "not installed", "Install it.")
    monkeypatch.setattr(checkup, "software", lambda: [broken])
    said = fq("doctor")
    assert said.code == 1
    assert "✗ torch" in said.out
    assert "Install it." in said.out


def test_a_gpu_with_a_torch_that_can_not_use_it_is_a_problem(monkeypatch):
    monkeypatch.setattr("fqconsole.gpus.open_gpus", Watcher)
    monkeypatch.setattr(checkup_gpu, "torch_build", lambda: "CPU only")
    found = {finding.name: finding for finding in checkup_gpu.gpus()}
    assert found["torch build"].status == "problem"


@pytest.mark.slow
def test_deep_starts_torch(fq):
    said = fq("doctor", "--deep", "--json")
    assert "torch runs" in [check["name"] for check in said.json["checks"]]


def test_no_gpu_is_a_normal_state(fq, monkeypatch):
    class Nothing(Watcher):
        available = False
        problem = "No NVIDIA driver on this machine."

    monkeypatch.setattr("fqconsole.gpus.open_gpus", Nothing)
    assert "No NVIDIA driver" in fq("gpus").out
    assert "CPU" in fq("gpus", "--once").out
    found = fq("gpus", "--json").json
    assert (found["gpus"], found["problem"]) == ([], "No NVIDIA driver on this machine.")
    assert 0 < found["host"]["memory_used"] < found["host"]["memory_total"]
    assert fq("gpus", "--watch").code == 0


def test_what_a_gpu_does_not_tell_is_not_available(fq, monkeypatch):
    monkeypatch.setattr("fqconsole.gpus.open_gpus", Watcher)
    said = fq("gpus")
    assert "97 % busy" in said.out
    assert "power cap" in said.out
    assert "N/A busy" in said.out
    assert "not visible" in said.out
    assert [gpu["memory_used"] for gpu in fq("gpus", "--json").json["gpus"]] == [2**30, None]


def test_paths_are_those_of_the_program(fq, home):
    found = fq("paths", "--json").json
    assert found["runs"] == str(paths.store_file())
    assert found["hub_cache"] == str(home / "hf" / "hub")
    assert json.dumps(found["checkpoints"])[1:-1] in fq("paths").out


@pytest.mark.slow
def test_a_shot_is_a_picture_of_the_screen(fq, tmp_path):
    assert fq("shot", "gpus", "--out", tmp_path / "x.svg").code == 0
    assert ET.fromstring((tmp_path / "x.svg").read_text()).tag.endswith("svg")  # noqa: S314 - our own file
    assert fq("shot", "nosuch").code == 2
