"""How the console feels: `python -m benchmarks.console` prints all of it, `--start` only what starting takes.

First paint is timed in a real pseudo-terminal, help and a killed console as processes. Then follow
`benchmarks.console_jobs`, `benchmarks.console_streams` and `benchmarks.console_runs`, which run alone too.
"""

import argparse
import fcntl
import os
import platform
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time

import psutil

SHOWN = b"Models"  # the first screen's title, in the header
LIMIT = 20.0  # seconds after which a console counts as hanging
PARTS = ("console_jobs", "console_streams", "console_runs")


def first_paint(home: str) -> tuple[float, float]:
    """Seconds until the first screen's title is on the terminal of a new process: passed, and computed.

    The second is what counts on a machine that has other work.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {"FQCONSOLE_HOME": home, "TERM": "xterm-256color"}
    started = time.perf_counter()
    console = subprocess.Popen(
        [sys.executable, "-m", "fqconsole"], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    seen = b""
    while SHOWN not in seen:
        if time.perf_counter() - started > LIMIT:
            console.kill()
            raise TimeoutError(f"no {SHOWN.decode()} within {LIMIT:.0f} s")
        seen += os.read(master, 65536)
    seconds = time.perf_counter() - started
    spent = psutil.Process(console.pid).cpu_times()
    console.send_signal(signal.SIGTERM)
    while True:  # a console that can't write can't leave
        try:
            if not os.read(master, 65536):
                break
        except OSError:
            break
    console.wait()
    os.close(master)
    return seconds, spent.user + spent.system


def help_seconds() -> float:
    """Seconds that `fqconsole --help` takes, Python's start included."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fqconsole", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def orphan_seconds(home: str) -> float:
    """Seconds from kill -9 of a command that quantizes until its worker is gone."""
    command = [sys.executable, "-m", "fqconsole", "quantize", "demo", "--quiet"]
    parent = subprocess.Popen(
        command,
        env=os.environ | {"FQCONSOLE_HOME": home},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    workers: list[psutil.Process] = []
    deadline = time.perf_counter() + LIMIT
    while not workers and time.perf_counter() < deadline:
        time.sleep(0.01)
        workers = [child for child in psutil.Process(parent.pid).children() if "--events" in child.cmdline()]
    gone = os.pidfd_open(workers[0].pid)
    time.sleep(0.5)  # it loads torch by now
    parent.kill()
    started = time.perf_counter()
    watch = select.poll()
    watch.register(gone, select.POLLIN)
    watch.poll(LIMIT * 1000)
    seconds = time.perf_counter() - started
    os.close(gone)
    parent.wait()
    return seconds


def spread(name: str, times: list[float]) -> str:
    """One line of minimum, median and maximum."""
    low, middle, high = min(times), statistics.median(times), max(times)
    return f"{name}: {low:.2f} / {middle:.2f} / {high:.2f} s (min/median/max)"


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="How the console feels, in seconds and milliseconds.")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--start", action="store_true", help="Only what starting and ending take.")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}, {options.runs} times"
    )
    with tempfile.TemporaryDirectory() as home:
        first_paint(home)  # fills the file cache and the folder
        paints = [first_paint(home) for _ in range(options.runs)]
        print(spread("first paint", [passed for passed, _ in paints]))
        print(spread("computed until then", [spent for _, spent in paints]))
        print(spread("--help", [help_seconds() for _ in range(options.runs)]))
        print(spread("worker gone after kill -9", [orphan_seconds(home) for _ in range(3)]))
    if not options.start:
        for part in PARTS:
            print(f"== benchmarks.{part}", flush=True)
            subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=True)


if __name__ == "__main__":
    main()
