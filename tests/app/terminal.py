"""A console process in a real pseudo-terminal: keys go in, what is drawn comes out."""

import os
import pty
import select
import subprocess
import sys
import termios
import time

OPEN = "import sys; from fqconsole.app import run_console; sys.exit(run_console())"
LEAVE_ALTERNATE_SCREEN = b"\x1b[?1049l"
STOP_MOUSE = b"\x1b[?1000l"
WAIT = 30.0  # seconds; a loaded machine is slow, a broken console never answers


class Terminal:
    """A console process whose three streams are one pseudo-terminal of 24 lines and 80 columns."""

    def __init__(self, *, stderr=None):
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [sys.executable, "-c", OPEN],
            stdin=slave,
            stdout=slave,
            stderr=stderr or slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        self.slave = slave
        self.output = b""
        self._seen = 0

    def read_until(self, words: bytes, wait: float = WAIT) -> None:
        """Read what is drawn until `words` were drawn; what was read before does not count again."""
        deadline = time.monotonic() + wait
        while words not in self.output[self._seen :]:
            ready, _, _ = select.select([self.master], [], [], 0.2)
            if ready:
                self.output += os.read(self.master, 65536)
            assert time.monotonic() < deadline, (words, self.output[-3000:])
        self._seen = self.output.index(words, self._seen) + len(words)

    def send(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def ended(self) -> int:
        """The exit code; reads on meanwhile, because a full pseudo-terminal would hold the process up."""
        deadline = time.monotonic() + WAIT
        while self.process.poll() is None:
            ready, _, _ = select.select([self.master], [], [], 0.05)
            if ready:
                self.output += os.read(self.master, 65536)
            assert time.monotonic() < deadline
        while select.select([self.master], [], [], 0.1)[0]:
            self.output += os.read(self.master, 65536)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)
