"""What `doctor` looks at without starting torch: versions, clashes, disk, memory, places, terminal."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import fqconsole
from fqconsole import paths
from fqconsole.cli.quantities import GIB, size

Status = Literal["ok", "note", "problem"]
PYTHON_FLOOR = (3, 11)
LOW_DISK = 5 * GIB  # about one quantized 8B model


@dataclass(frozen=True)
class Finding:
    """One line of the report. "note": it works, but know this; "problem": something needed is missing."""

    name: str
    status: Status
    found: str
    next_step: str = ""


@dataclass(frozen=True)
class Supported:
    """Versions tried with this release: at least `floor`, and below `ceiling`."""

    floor: tuple[int, int]
    ceiling: tuple[int, int]


TRIED = {
    "torch": Supported((2, 11), (2, 14)),
    "triton": Supported((3, 6), (3, 8)),
    "transformers": Supported((5, 17), (5, 24)),
    "huggingface_hub": Supported((1, 5), (3, 0)),
    "textual": Supported((8, 2), (9, 0)),
    "sqlite-utils": Supported((4, 2), (5, 0)),
}
NEEDED = ("numpy", "safetensors", "tokenizers", "typer", "msgspec", "platformdirs", "nvidia-ml-py", "psutil")


def installed(name: str) -> str | None:
    """The version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pair(version: str) -> tuple[int, int]:
    numbers = re.findall(r"\d+", version)
    return int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0


def _version(name: str, supported: Supported) -> Finding:
    version = installed(name)
    floor = ".".join(map(str, supported.floor))
    if version is None:
        return Finding(
            name, "problem", "not installed", f'Type: {sys.executable} -m pip install "{name}>={floor}"'
        )
    if _pair(version) < supported.floor:
        upgrade = f'Type: {sys.executable} -m pip install "{name}>={floor}"'
        return Finding(name, "problem", f"{version}; {floor} or newer is needed", upgrade)
    if _pair(version) >= supported.ceiling:
        return Finding(name, "note", f"{version}, newer than what this release was tried with")
    return Finding(name, "ok", version)


def torch_build() -> str:
    """CUDA and its version, CPU only, or unknown build: read from a file of torch, which is not imported."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return "unknown build"
    file = Path(spec.origin).parent / "version.py"
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return "unknown build"
    found = re.search(r"^cuda\b[^=\n]*=\s*(?:'([\d.]+)'|\"([\d.]+)\"|None)", text, re.MULTILINE)
    if found is None:
        return "unknown build"
    version = found[1] or found[2]
    return f"CUDA {version}" if version else "CPU only"


def _kernels() -> Finding:
    """The hub's package of the same name would hide our `kernels`, or be hidden by it."""
    version = installed("kernels")
    if version is not None:
        return Finding(
            "kernels",
            "problem",
            f"the Hugging Face package `kernels` {version} is here, and fqconsole has a package of that name",
            f"Type: {sys.executable} -m pip uninstall kernels, or give fqconsole an environment of its own.",
        )
    spec = importlib.util.find_spec("kernels")
    ours = Path(fqconsole.__file__).parent.parent / "kernels"
    if spec is None or spec.origin is None or Path(spec.origin).parent != ours:
        found = "not found" if spec is None else f"another package is in the way: {spec.origin}"
        return Finding("kernels", "problem", found, "Install fqconsole in an environment of its own.")
    return Finding("kernels", "ok", "fqconsole's own")


def software() -> list[Finding]:
    """Python and every package that the console and its jobs need."""
    python = platform.python_version()
    findings = [
        Finding("fqconsole", "ok", f"{fqconsole.__version__} in {Path(fqconsole.__file__).parent.parent}"),
        Finding("python", "ok", f"{python} at {sys.executable}")
        if sys.version_info >= PYTHON_FLOOR
        else Finding("python", "problem", f"{python}; 3.11 or newer is needed", "Install a newer Python."),
    ]
    for name, supported in TRIED.items():
        if name == "triton" and sys.platform != "linux":
            continue
        finding = _version(name, supported)
        if name == "torch" and finding.status != "problem":
            finding = Finding("torch", finding.status, f"{finding.found}, {torch_build()}", finding.next_step)
        findings.append(finding)
    absent = [name for name in NEEDED if installed(name) is None]
    if absent:
        install = f"Type: {sys.executable} -m pip install {' '.join(absent)}"
        findings.append(Finding("packages", "problem", f"not installed: {', '.join(absent)}", install))
    findings.append(_kernels())
    return findings


def _existing(place: Path) -> Path:
    """`place`, or the nearest folder above it that exists."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def _disk(name: str, place: Path) -> Finding:
    above = _existing(place)
    if not os.access(above, os.W_OK):
        step = "Change its permissions, or set FQCONSOLE_HOME to a folder of yours."
        return Finding(name, "problem", f"{place} can't be written", step)
    free = shutil.disk_usage(above).free
    if free < LOW_DISK:
        return Finding(name, "note", f"{place}, only {size(free)} free", "Make room before you quantize.")
    return Finding(name, "ok", f"{place}, {size(free)} free")


def _runs() -> Finding:
    file = paths.store_file()
    if not file.exists():
        return Finding("runs", "ok", f"{file}, not made yet")
    from store import Store, StoreError

    try:
        found = Store.open(file).list_runs(limit=1)
    except StoreError as error:
        return Finding("runs", "problem", error.what, error.next_step)
    return Finding("runs", "ok", f"{file}, {size(file.stat().st_size)}{'' if found else ', empty'}")


def _terminal() -> Finding:
    if not sys.stdout.isatty():
        return Finding("terminal", "ok", "stdout is no terminal; commands work, the console needs one")
    columns, lines = shutil.get_terminal_size()
    found = f"{columns}×{lines}, {sys.stdout.encoding}, TERM={os.environ.get('TERM', '')}"
    if columns < 80 or lines < 24:
        return Finding("terminal", "note", found, "The console wants 80 columns and 24 lines.")
    if "utf" not in sys.stdout.encoding.lower():
        return Finding("terminal", "note", found, "Set LANG to a UTF-8 locale, or the drawing looks wrong.")
    return Finding("terminal", "ok", found)


def machine() -> list[Finding]:
    """Memory, disk, places and the terminal."""
    import psutil

    from fqconsole.models.hub_cache import cache_folder

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        Finding("memory", "ok", f"{size(memory.available)} free of {size(memory.total)}, {cores} cores"),
        _disk("checkpoints", paths.checkpoints_dir()),
        _disk("hub cache", cache_folder()),
        _disk("log", paths.log_dir()),
        _runs(),
        _terminal(),
    ]
