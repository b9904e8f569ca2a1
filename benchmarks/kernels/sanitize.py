"""Every Triton kernel under NVIDIA's compute-sanitizer: memory out of bounds, races in shared memory.

    python -m benchmarks.kernels.sanitize [--tools memcheck racecheck] [--only NAME ...] [--seconds 200]

Each case of `sanitizer_cases` is a process of its own, which also fails where a result is wrong or a kernel
that it is there for was not launched. All run once alone, which fills Triton's cache, then under each tool.
There a tensor is an allocation by itself with a gap behind it: inside torch's pool nothing is out of bounds.
Our kernels are looked at, those of torch are not. Two cases have a fault planted, which their tool must find.

Exit code 1 if a tool finds another fault, or not the planted one, or a case fails; 2 where nothing can be
checked. What was left out or timed out is not known to be clean.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

import kernels
from benchmarks.kernels.sanitizer_cases import CASES, DEVICE, Case
from kernels.gpu import gpu_of
from kernels.wide_tiles import WIDE_CAPABILITY

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
PLACE = "/usr/local/cuda/bin"
SHORTEST, LONGEST = 15.0, 150.0  # seconds of a process: its imports alone take 13
REPORTED = 12  # lines of a report
GAP = 1 << 20  # bytes
ENVIRONMENT = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "OMP_NUM_THREADS": "2"}
KERNELS = sorted({kernel for case in CASES for kernel in case.kernels.split()})
SUMMARY = re.compile(r"^=+ (?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)", re.MULTILINE)


class Ran(NamedTuple):
    """How a process ended: clean, N errors, failed, timed out or left out."""

    ended: str
    seconds: float = 0.0
    said: str = ""

    @property
    def is_found(self) -> bool:
        return self.ended.endswith(("error", "errors"))

    @property
    def cell(self) -> str:
        return f"{self.ended}, {self.seconds:.0f} s" if self.seconds else self.ended

    @property
    def excerpt(self) -> str:
        """The start of a tool's report; without one the end of what was said."""
        lines = self.said.splitlines()
        report = [line for line in lines if line.startswith("====") and "COMPUTE-SANITIZER" not in line]
        return "\n".join(report[:REPORTED] if self.is_found else lines[-REPORTED:])


def sanitizer() -> str | None:
    """Where the program lies."""
    return shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path=PLACE)


def why_not() -> str:
    """Why nothing can be checked here; empty where it can."""
    if not torch.cuda.is_available():
        return "There is no GPU here that torch can use, so the kernels can't be checked."
    if sanitizer() is None:
        return f"compute-sanitizer, of NVIDIA's CUDA toolkit, is neither on the PATH nor in {PLACE}."
    return ""


def command(case: Case, tool: str) -> list[str]:
    """What runs a case under a tool; "" is none."""
    alone = [sys.executable, "-m", "benchmarks.kernels.sanitize", "--case", case.name]
    if not tool:
        return alone
    options = f"--tool {tool} --error-exitcode 99 --target-processes application-only --launch-timeout 0"
    options += " --show-backtrace device --max-connections 100"
    if tool == "memcheck":
        options += f" --report-api-errors no --padding {GAP}"
    if tool != "initcheck":  # which must see everyone who writes
        options += "".join(f" --kernel-name kne={kernel}" for kernel in KERNELS)
    return [sanitizer() or "compute-sanitizer", *options.split(), *alone]


def faults_in(said: str) -> int | None:
    """Errors or hazards, as the tool counts them at its end; None where it does not."""
    counts = SUMMARY.findall(said)
    return int("".join(counts[-1])) if counts else None


def verdict(code: int, said: str, tool: str) -> str:
    """Of a process that came to its end."""
    faults = faults_in(said) if tool else 0
    if faults:
        return f"{faults} error{'s' * (faults > 1)}"
    return "clean" if code == 0 and faults == 0 else "failed"


def run(case: Case, tool: str, end: float) -> Ran:
    """A case in a process, whose group ends with its time, or with everybody's at `end`."""
    begun = time.monotonic()
    left = min(LONGEST, end - begun)
    if left < SHORTEST:
        return Ran("left out")
    process = subprocess.Popen(
        command(case, tool), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=os.environ | ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=left)
        ended = verdict(process.returncode, said, tool)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        ended = "timed out" if left == LONGEST else "left out"
    ran = Ran(ended, time.monotonic() - begun, said)
    print(f"{tool or 'alone'} {case.name}: {ran.cell}", flush=True)
    return ran


def run_all(
    cases: Sequence[Case], tools: Sequence[str], seconds: float, jobs: int
) -> dict[tuple[str, str], Ran]:
    """By name and tool; what is planted runs under its tool alone, what fails alone under none."""
    end = time.monotonic() + seconds
    found: dict[tuple[str, str], Ran] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for stage in ([""], tools):
            pairs = [
                (case, tool)
                for tool in stage
                for case in cases
                if (
                    tool == case.planted
                    if case.planted
                    else not tool or found[case.name, ""].ended == "clean"
                )
            ]
            results = pool.map(lambda pair: run(pair[0], pair[1], end), pairs)
            found |= {(case.name, tool): ran for (case, tool), ran in zip(pairs, results, strict=True)}
    return found


def wrong(case: Case, tool: str, ran: Ran) -> str:
    """What is not as it should be; empty where nothing is."""
    if case.planted:
        return "" if ran.is_found else f"{tool} sees nothing here: {case.name} is {ran.ended}"
    failed = ran.is_found or ran.ended == "failed" or (not tool and ran.ended == "timed out")
    return f"{tool or 'alone'} {case.name}: {ran.ended}" if failed else ""


def report(cases: Sequence[Case], tools: Sequence[str], found: dict[tuple[str, str], Ran]) -> bool:
    """Print the table and what is wrong; whether nothing is."""
    from benchmarks._table import table  # loads transformers, which a case does without

    columns, none = ("", *tools), Ran("-")
    rows = [
        (
            case.name,
            case.kernels.replace("_kernel", ""),
            *(found.get((case.name, tool), none).cell for tool in columns),
        )
        for case in cases
    ]
    print(table(("case", "kernels", "alone", *tools), rows))
    known = {case.name: case for case in cases}
    sentences = {wrong(known[name], tool, ran): ran for (name, tool), ran in found.items()}
    for sentence, ran in sentences.items():
        if sentence:
            print(f"\n{sentence}\n{ran.excerpt}")
    unknown = sum(ran.ended in ("left out", "timed out") for ran in found.values())
    if unknown:
        print(f"\n{unknown} of {len(found)} runs were left out or timed out: nothing is known of them.")
    return not any(sentences)


def run_case(case: Case) -> None:
    """In this process. Raises RuntimeError where not all of its kernels were launched."""
    import triton

    launched: set[str] = set()
    triton.knobs.runtime.launch_enter_hook.add(lambda made: launched.add(made.get()["name"]))
    if (path := kernels.path_name(DEVICE, 4)) != "triton":
        raise RuntimeError(f"the matmuls of this GPU are: {path}")
    case.run()
    torch.cuda.synchronize()
    print("launched", *sorted(launched))
    if missing := set(case.kernels.split()) - launched:
        raise RuntimeError(f"{case.name} did not launch {', '.join(sorted(missing))}")


def main() -> int:
    """Check what was asked for; 0, 1 or 2."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS[:2])
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these, and what is planted")
    parser.add_argument("--seconds", type=float, default=200.0, help="for all together")
    parser.add_argument("--jobs", type=int, default=8, help="processes at a time")
    parser.add_argument("--case", choices=names, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case:
        run_case(CASES[names.index(asked.case)])
        return 0
    if problem := why_not():
        print(problem)
        return 2
    from benchmarks._table import hardware

    device = torch.device(DEVICE)
    print(hardware(device), flush=True)
    here = gpu_of(device).capability == WIDE_CAPABILITY
    cases = [
        case for case in CASES if (case.planted or case.name in asked.only) and (here or not case.hopper)
    ]
    if not here:
        print("The ring and the wide kernel are for compute capability 9.0: their cases are left out.")
    found = run_all(cases, asked.tools, asked.seconds, asked.jobs)
    return int(not report(cases, asked.tools, found))


if __name__ == "__main__":
    sys.exit(main())
