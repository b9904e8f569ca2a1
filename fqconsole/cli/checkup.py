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
from fqconsole.installing import EXTRAS, Extra, to_have, to_install, to_remove

Status = Literal["ok", "note", "problem", "optional"]
PYTHON_FLOOR = (3, 11)
LOW_DISK = 5 * GIB  # about one quantized 8B model


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    "note": it works, but know this; "problem": something needed is missing; "optional": something is missing
    that one command needs.
    """

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
        return Finding(name, "problem", "not installed", f"Type: {to_install([f'{name}>={floor}'])}")
    if _pair(version) < supported.floor:
        upgrade = f"Type: {to_install([f'{name}>={floor}'])}"
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
            f"Type: {to_remove('kernels')}, or give fqconsole an environment of its own.",
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
        install = f"Type: {to_install(absent)}"
        findings.append(Finding("packages", "problem", f"not installed: {', '.join(absent)}", install))
    findings.append(_kernels())
    return findings


def extras() -> list[Finding]:
    """What only one command needs, and what to type where it is missing."""
    return [_extra(extra) for extra in EXTRAS]


def _extra(extra: Extra) -> Finding:
    name = f"[{extra.name}]"
    if any(installed(need) is None for need in extra.needs):
        return Finding(name, "optional", f"not installed; for {extra.purpose}", to_have(extra.name))
    found = ", ".join(f"{name} {installed(name)}" for name in extra.needs)
    return Finding(name, "ok", f"{found}, for {extra.purpose}")


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


def colour_depth(term: str, colorterm: str) -> str:
    """How many colours a terminal says that it shows, by TERM and COLORTERM."""
    if colorterm.lower() in ("truecolor", "24bit") or term.endswith("-direct"):
        return "16 million colours"
    return "256 colours" if "256color" in term or "kitty" in term else "16 colours"


def _triton_cache() -> Path:
    """Where Triton keeps compiled kernels: by its own rules."""
    chosen = os.environ.get("TRITON_CACHE_DIR")
    home = os.environ.get("TRITON_HOME")
    return Path(chosen) if chosen else (Path(home) if home else Path.home()) / ".triton" / "cache"


def _terminal() -> Finding:
    if not sys.stdout.isatty():
        return Finding("terminal", "ok", "stdout is no terminal; commands work, the console needs one")
    columns, lines = shutil.get_terminal_size()
    term = os.environ.get("TERM", "")
    colours = colour_depth(term, os.environ.get("COLORTERM", ""))
    found = f"{columns}×{lines}, {sys.stdout.encoding}, TERM={term}, {colours}"
    if term in ("", "dumb", "unknown"):
        step = "Set TERM to what your terminal is, `export TERM=xterm-256color` say."
        return Finding("terminal", "note", found, step)
    if columns < 80 or lines < 24:
        return Finding("terminal", "note", found, "The console wants 80 columns and 24 lines.")
    if "utf" not in sys.stdout.encoding.lower():
        step = "Type: export LANG=C.UTF-8, or open the console with --ascii."
        return Finding("terminal", "note", found, step)
    if colours == "16 colours":
        step = "If the terminal can show more, type: export COLORTERM=truecolor."
        return Finding("terminal", "note", found, step)
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
        _disk("cache", paths.cache_dir()),
        _disk("triton cache", _triton_cache()),
        _disk("log", paths.log_dir()),
        _runs(),
        _terminal(),
    ]
