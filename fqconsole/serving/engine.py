"""A serving engine as a child process on a leash: it ends with whoever started it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import fqconsole
from fqconsole.serving import leash

END_SECONDS = 1.0  # how long `end` waits; the leash sees to the rest by itself


class Engine:
    """`Engine.start` it; `end` it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        afterwards: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Run `command` with its output in `log`.

        `afterwards` is run where it had to be ended by force; `environment` is added to ours.
        """
        task = {
            "parent": os.getpid(),
            "command": list(command),
            "afterwards": list(afterwards),
            "environment": dict(environment or {}),
            "without": str(Path(fqconsole.__file__).resolve().parents[1]),
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", leash.__file__, json.dumps(task)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(process)

    def ended(self, within: float = 0.0) -> int | None:
        """Its exit code, where it ends within so many seconds."""
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Have it end; it may still be freeing its GPUs when this returns."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        self.ended(END_SECONDS)
