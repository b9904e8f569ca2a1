"""`fqconsole doctor`, `gpus`, `paths` and `shot`."""

import importlib.metadata
import importlib.util
import json
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from fqconsole import installing, paths
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
    assert found.next_step == f"Type: {installing.to_install(['torch>=2.11'])}"


def test_an_old_version_is_a_problem_and_a_new_one_a_note(installed):
    found = installed(torch="2.10.1", transformers="5.99.0")
    assert (found["torch"].status, found["transformers"].status) == ("problem", "note")


def test_the_hubs_kernels_package_is_a_problem(installed):
    found = installed(kernels="0.18.2")["kernels"]
    assert found.status == "problem"
    assert installing.to_remove("kernels") in found.next_step


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


@pytest.mark.parametrize(
    ("driver", "build", "status"),
    [
        ("570.124.06", "CUDA 13.0", "problem"),
        ("580.65.06", "CUDA 13.0", "ok"),
        ("525.60.13", "CUDA 12.8", "ok"),
        ("470.82.01", "CUDA 12.8", "problem"),
        ("470.82.01", "CPU only", "ok"),
        ("580.65.06", "unknown build", "ok"),
    ],
)
def test_a_driver_is_as_new_as_the_cuda_of_this_torch(monkeypatch, driver, build, status):
    monkeypatch.setattr("fqconsole.gpus.open_gpus", Watcher)
    monkeypatch.setattr(checkup_gpu, "torch_build", lambda: build)
    monkeypatch.setattr(
        checkup_gpu, "_nvidia_smi", lambda field: [driver] if field == "driver_version" else ["8.0"]
    )
    found = {finding.name: finding for finding in checkup_gpu.gpus()}["driver"]
    assert found.status == status
    assert found.found.startswith(driver)


def test_the_extras_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    offered = {extra.name: list(extra.needs.values()) for extra in installing.EXTRAS}
    assert offered == {
        name: needs for name, needs in project["optional-dependencies"].items() if name != "dev"
    }


def test_an_extra_that_is_missing_is_no_problem_and_says_what_to_type(monkeypatch):
    monkeypatch.setattr(checkup, "installed", lambda name: None if name == "uvicorn" else "9.9")
    found = {finding.name: finding for finding in checkup.extras()}
    assert (found["[api]"].status, found["[gguf]"].status) == ("optional", "ok")
    assert found["[api]"].next_step == installing.to_have("api")
    assert found["[api]"].next_step.endswith(' "starlette>=0.50" "uvicorn>=0.38"')


def test_an_environment_without_pip_is_told_what_to_type_for_uv(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else real(name))
    assert installing.to_install(["gguf>=0.17"]).startswith("uv pip install --python /")
    assert installing.to_install(["torch"], again=True).endswith("--reinstall torch")
    assert installing.to_remove("kernels").startswith("uv pip uninstall --python /")


@pytest.mark.parametrize(
    ("term", "colorterm", "colours"),
    [
        ("xterm-256color", "", "256 colours"),
        ("xterm-256color", "truecolor", "16 million colours"),
        ("xterm-kitty", "", "256 colours"),
        ("linux", "", "16 colours"),
    ],
)
def test_a_terminal_tells_its_colours(term, colorterm, colours):
    assert checkup.colour_depth(term, colorterm) == colours


@pytest.mark.parametrize(
    ("term", "encoding", "size", "status", "step"),
    [
        ("xterm-256color", "utf-8", (120, 40), "ok", ""),
        ("dumb", "utf-8", (120, 40), "note", "TERM"),
        ("xterm-256color", "ascii", (120, 40), "note", "--ascii"),
        ("xterm-256color", "utf-8", (70, 40), "note", "80 columns"),
        ("linux", "utf-8", (120, 40), "note", "COLORTERM"),
    ],
)
def test_a_terminal_that_shows_less_says_what_to_set(  # noqa: PLR0917
    monkeypatch, term, encoding, size, status, step
):
    class Screen:
        def isatty(self):
            return True

    Screen.encoding = encoding
    monkeypatch.setattr("sys.stdout", Screen())
    monkeypatch.setattr("shutil.get_terminal_size", lambda: size)
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("COLORTERM", raising=False)
    found = checkup._terminal()
    assert (found.status, step in found.next_step) == (status, True)


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
