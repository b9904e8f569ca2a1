"""How long the console takes to its first paint, in a real terminal: `python -m benchmarks.console`."""

import argparse
import fcntl
import os
import platform
import pty
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time

SHOWN = b"Models"  # the first screen's title, in the header
LIMIT = 20.0  # seconds after which a console counts as hanging


def first_paint(home: str) -> float:
    """Seconds from the start of a new process until the first screen's title is on the terminal."""
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
    console.send_signal(signal.SIGTERM)
    while True:  # a console that can't write can't leave
        try:
            if not os.read(master, 65536):
                break
        except OSError:
            break
    console.wait()
    os.close(master)
    return seconds


def main() -> None:
    """Print minimum, median and maximum over the runs."""
    parser = argparse.ArgumentParser(
        description="Time from the start of Python to the console's first paint."
    )
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        first_paint(home)  # fills the file cache and the folder
        times = [first_paint(home) for _ in range(options.runs)]
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {options.runs} starts")
    low, middle, high = min(times), statistics.median(times), max(times)
    print(f"first paint: {low:.2f} / {middle:.2f} / {high:.2f} s (min/median/max)")


if __name__ == "__main__":
    main()
