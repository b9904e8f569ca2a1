"""What `doctor` looks at for the GPU: driver, compute capability, compiler; and torch itself with --deep."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from fqconsole.cli.checkup import Finding, torch_build
from fqconsole.cli.quantities import size
from fqconsole.installing import to_install

# The oldest driver, by its first number, for each CUDA that torch is built with: NVIDIA's release notes of
# CUDA, "minor version compatibility".
DRIVER_FLOORS = {11: 450, 12: 525, 13: 580}
KERNEL_FLOOR = (8, 0)  # sm_80: bf16 tensor cores
DEEP_SECONDS = 120
PROBE = """
import json, torch
found = {"torch": torch.__version__, "cuda": torch.version.cuda, "available": torch.cuda.is_available()}
found["gpus"] = []
for index in range(torch.cuda.device_count() if found["available"] else 0):
    x = torch.ones(64, 64, device=f"cuda:{index}", dtype=torch.bfloat16)
    found["gpus"].append({
        "name": torch.cuda.get_device_name(index),
        "capability": list(torch.cuda.get_device_capability(index)),
        "computes": float((x @ x).sum()) == 64.0**3,
    })
try:
    import triton
    found["triton"] = triton.__version__
except Exception as error:
    found["triton_problem"] = repr(error)
print(json.dumps(found))
"""


def gpus() -> list[Finding]:
    """Each GPU that NVML sees, the driver, and what Triton needs to compile for it."""
    from fqconsole.gpus import open_gpus

    watcher = open_gpus()
    if not watcher.available:
        return [Finding("gpu", "note", f"{watcher.problem} Jobs run on the CPU.")]
    findings = []
    capabilities = _nvidia_smi("compute_cap")
    for at, gpu in enumerate(watcher.sample()):
        found = f"{gpu.index} {gpu.name or 'N/A'}, {size(gpu.memory_free)} free of {size(gpu.memory_total)}"
        capability = capabilities[at] if at < len(capabilities) else ""
        status, step = _judged(capability)
        findings.append(
            Finding(
                "gpu", status, found + (f", sm_{capability.replace('.', '')}" if capability else ""), step
            )
        )
    findings.append(_driver(_nvidia_smi("driver_version"), torch_build()))
    if torch_build() == "CPU only":
        step = f"Type: {to_install(['torch'], again=True)} (a CUDA build)."
        findings.append(
            Finding("torch build", "problem", "there is a GPU, but this torch can't use it", step)
        )
    findings.append(_compiler())
    return findings


def _driver(versions: list[str], build: str) -> Finding:
    """Whether the driver is new enough for the CUDA that torch was built with ("CUDA 13.0")."""
    if not versions:
        step = "Look whether `nvidia-smi` runs; in a container the driver's tools must be passed in."
        return Finding("driver", "note", "version not found", step)
    cuda = build.removeprefix("CUDA ").partition(".")[0]
    floor = DRIVER_FLOORS.get(int(cuda), 0) if cuda.isdecimal() else 0
    first = versions[0].partition(".")[0]
    if first.isdecimal() and int(first) < floor:
        found = f"{versions[0]}; this torch ({build}) needs {floor} or newer"
        return Finding("driver", "problem", found, "Update the driver, or install a torch for an older CUDA.")
    return Finding("driver", "ok", versions[0])


def _judged(capability: str) -> tuple[Any, str]:
    """Whether the kernels run on this compute capability, "8.9" say."""
    parts = capability.split(".")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        return "ok", ""
    if (int(parts[0]), int(parts[1])) < KERNEL_FLOOR:
        return "note", "The kernels are made for compute capability 8.0 and newer; older GPUs are not tried."
    return "ok", ""


def _nvidia_smi(field: str) -> list[str]:
    """One value a GPU, or nothing where nvidia-smi is missing or fails."""
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _compiler() -> Finding:
    """Triton builds a small C launcher for each kernel: it needs a C compiler and Python's headers."""
    compiler = next((name for name in ("gcc", "clang", "cc") if shutil.which(name)), None)
    if compiler is None:
        return Finding(
            "C compiler", "problem", "none found; Triton needs one", "Type: sudo apt-get install gcc"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
        step = f"Type: sudo apt-get install {package}"
        return Finding("C compiler", "problem", f"{compiler}, but {header} is missing; Triton needs it", step)
    return Finding("C compiler", "ok", compiler)


def torch_itself() -> list[Finding]:
    """Start torch in a process of its own, compute once on each GPU, and tell what came of it."""
    import json

    step = "Install torch again for this Python, driver and CUDA: see pytorch.org."
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, check=False, timeout=DEEP_SECONDS
        )
    except subprocess.TimeoutExpired:
        return [Finding("torch runs", "problem", f"no answer within {DEEP_SECONDS} s", step)]
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return [Finding("torch runs", "problem", last[0], step)]
    found = json.loads(done.stdout.splitlines()[-1])
    build = f"CUDA {found['cuda']}" if found["cuda"] else "CPU only"
    findings = [
        Finding("torch runs", "ok", f"{found['torch']}, {build}, GPU {'yes' if found['available'] else 'no'}")
    ]
    if found["cuda"] and not found["available"]:
        findings = [Finding("torch runs", "note", f"{found['torch']}, {build}, but it sees no GPU")]
    for gpu in found["gpus"]:
        capability = "".join(map(str, gpu["capability"]))
        sums = "computes" if gpu["computes"] else "computes wrong results"
        findings.append(
            Finding(
                "torch on GPU",
                "ok" if gpu["computes"] else "problem",
                f"{gpu['name']}, sm_{capability}, {sums}",
            )
        )
    if "triton_problem" in found:
        findings.append(Finding("triton runs", "problem", found["triton_problem"], "Reinstall triton."))
    return findings
