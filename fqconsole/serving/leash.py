"""A process between a worker and the server it started, so that the server ends when its worker does.

Run as a file by itself, with nothing of fqconsole: `python -I leash.py JSON`, where the JSON holds `parent`,
`command`, `environment` (added to its own), `without` (a folder taken out of PYTHONPATH) and `afterwards`. It
ends the whole process group of the command when it is told to (SIGTERM) and when its parent dies, even by
SIGKILL: politely first, then by force, then with `afterwards` (`docker rm -f …`).
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = 20.0  # from SIGTERM to SIGKILL: an engine frees its GPUs in order
AFTERWARDS_SECONDS = 20.0
NOT_FOUND = 127
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(task: dict[str, Any]) -> int:
    """Run the command to its end, or to ours; its exit code, 128 + n where signal n ended it."""
    _die_with_parent(signal.SIGTERM)
    # Blocked, so that each is taken exactly where it is waited for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*ENDING, signal.SIGCHLD})
    if os.getppid() != task["parent"]:
        return 1
    try:
        child = subprocess.Popen(
            task["command"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_let_go,  # noqa: PLW1509 - this process has one thread
            env=_environment(task),
        )
    except OSError as error:
        sys.stderr.write(f"{task['command'][0]} can't be started: {error.strerror}\n")
        return NOT_FOUND
    while child.poll() is None:
        if signal.sigwait({*ENDING, signal.SIGCHLD}) in ENDING:
            _end(child, task["afterwards"])
    _signal_group(child, signal.SIGKILL)  # what it left behind
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end(child: "subprocess.Popen[bytes]", afterwards: list[str]) -> None:
    _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while child.poll() is None and (left := deadline - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, min(left, 1.0))
    if child.poll() is None:
        _signal_group(child, signal.SIGKILL)
        child.wait()
        if afterwards:
            subprocess.run(
                afterwards,
                stdin=subprocess.DEVNULL,
                timeout=AFTERWARDS_SECONDS,
                check=False,
                preexec_fn=_let_go,
            )


def _signal_group(child: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _let_go() -> None:
    """In the child, before it becomes the command: no blocked signals, and an end with us."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    _die_with_parent(signal.SIGKILL)


def _die_with_parent(number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)


def _environment(task: dict[str, Any]) -> dict[str, str]:
    """Ours, without the folder that made us importable: an engine would find our `kernels` in it."""
    environment = {**os.environ, **task["environment"]}
    folders = environment.pop("PYTHONPATH", "").split(os.pathsep)
    kept = [folder for folder in folders if folder and folder != task["without"]]
    if kept:
        environment["PYTHONPATH"] = os.pathsep.join(kept)
    return environment


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
