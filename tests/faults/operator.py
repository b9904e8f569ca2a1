"""An operator at a command line of their own: starts real jobs, hurts them, and looks at what is left."""

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
INJECTION = Path(__file__).parent / "injection"
WORKER = "fqconsole.jobs.worker"
LONGEST = 120.0  # seconds one command may take on a machine that does other things too
ORPHAN_SECONDS = 10.0  # until nothing of a killed command may be left; 2 on a quiet machine


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str
    events: tuple[dict[str, Any], ...] = ()

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1] if self.events else {}


@dataclass
class Operator:
    """`home` is theirs alone."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(
        self, *arguments: str, fault: dict[str, Any] | None = None, fault_in: str = WORKER
    ) -> "Command":
        """A command line with `--events` left to the caller; `fault`: see injection/sitecustomize.py."""
        environment = {
            **os.environ,
            "FQCONSOLE_HOME": str(self.home),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{INJECTION}{os.pathsep}{ROOT}",
            **self.environment,
        }
        if fault is not None:
            environment |= {"FQ_FAULT": json.dumps(fault), "FQ_FAULT_IN": fault_in}
        process = subprocess.Popen(
            [sys.executable, "-m", "fqconsole", *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", env=environment, start_new_session=True,
        )  # fmt: skip
        return Command(process)

    def run(self, *arguments: str, **keywords: Any) -> Ended:
        """A command from start to end."""
        return self.start(*arguments, **keywords).wait()

    def runs(self) -> list[dict[str, Any]]:
        """What the store says of every run, the latest first."""
        found: list[dict[str, Any]] = json.loads(self.run("runs", "list", "--json").out)["runs"]
        return found

    def processes(self) -> list[int]:
        """Processes of this operator that are still alive."""
        marker = f"FQCONSOLE_HOME={self.home}".encode()
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                alive = place.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
                if alive and marker in place.joinpath("environ").read_bytes().split(b"\0"):
                    found.append(int(place.name))
        return found

    def require_sound(self) -> None:
        """Nothing runs on, the store is whole, and no run is left open once a command looked at it."""
        give_up = time.monotonic() + ORPHAN_SECONDS
        while left := self.processes():
            assert time.monotonic() < give_up, f"still alive: {left}"
            time.sleep(0.05)
        open_runs = [run for run in self.runs() if run["status"] == "running"]
        assert open_runs == []
        store = next(self.home.rglob("runs.db"))
        with contextlib.closing(sqlite3.connect(store)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


class Command:
    """A command that runs; its output is read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._out: list[str] = []
        self._err: list[str] = []
        self._watching: Callable[[list[dict[str, Any]]], None] = lambda events: None
        self._readers = [
            threading.Thread(target=self._read_out, daemon=True),
            threading.Thread(target=self._read_err, daemon=True),
        ]
        self._begun = False

    def on_event(self, react: Callable[[list[dict[str, Any]]], None]) -> "Command":
        """`react` is called with all events so far at each new one, as soon as it is read."""
        self._watching = react
        return self

    def wait(self) -> Ended:
        self.begin()
        try:
            self.process.wait(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            raise
        for reader in self._readers:
            reader.join(10)
        return Ended(self.process.returncode, "".join(self._out), "".join(self._err), tuple(self.events))

    def begin(self) -> None:
        if not self._begun:
            self._begun = True
            for reader in self._readers:
                reader.start()

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._out.append(line)
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "type" in event:
                    self.events.append(event)
                    self._watching(self.events)

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        self._err.extend(self.process.stderr)


def digests(folder: Path) -> dict[str, str]:
    """File name → sha256 of everything in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def leftovers(folder: Path) -> list[str]:
    """What lies beside a checkpoint that is none: temporary files and unfinished folders."""
    return sorted(
        path.name for path in folder.rglob("*") if path.name.endswith(".tmp") or ".partial-" in path.name
    )


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
