"""A console process in a real pseudo-terminal: keys go in, what a person would read comes out."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pyte

OPEN = "import sys; from fqconsole.app import run_console; sys.exit(run_console())"
LEAVE_ALTERNATE_SCREEN = b"\x1b[?1049l"
STOP_MOUSE = b"\x1b[?1000l"
UNKNOWN_TO_PYTE = re.compile(rb"\x1b\[[<>=?][\d;]*u")  # asks for other key codes; pyte would print the u
WAIT = 30.0  # seconds; a loaded machine is slow, a broken console never answers


LINES, COLUMNS = 24, 80


class Terminal:
    """A console process whose three streams are one pseudo-terminal of 24 lines and 80 columns.

    `output` holds every byte that came, `text` what stands on the screen now. `command` starts something else
    than the console alone. `spare`: it may make a worker ready for a session.
    """

    def __init__(self, *, stderr=None, command=(sys.executable, "-c", OPEN), spare=False):
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (LINES, COLUMNS))
        self.before = termios.tcgetattr(slave)
        # Variables that tell a size go before the size of the terminal, and a runner of tests may set them.
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=stderr or slave,
            start_new_session=True,
            env={
                **inherited,
                "TERM": "xterm-256color",
                "FQCONSOLE_SESSION_SPARE": "true" if spare else "false",
            },
        )
        self.slave = slave
        self.output = b""
        self._seen = 0
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)

    def _read(self, wait: float) -> bool:
        """Take what was drawn; False when nothing came."""
        if not select.select([self.master], [], [], wait)[0]:
            return False
        new = os.read(self.master, 65536)
        self.output += new
        self._stream.feed(UNKNOWN_TO_PYTE.sub(b"", new))
        return True

    @property
    def text(self) -> str:
        """The lines on the screen."""
        return "\n".join(self._screen.display)

    def wait_for(self, words: str, wait: float = WAIT) -> str:
        """Read until `words` stand on the screen; returns all that stands there."""
        deadline = time.monotonic() + wait
        while words not in self.text:
            self._read(0.2)
            assert time.monotonic() < deadline, f"{words!r} is not there:\n{self.text}"
        return self.text

    def read_until(self, words: bytes, wait: float = WAIT) -> None:
        """Read what is drawn until `words` were drawn; what was read before does not count again."""
        deadline = time.monotonic() + wait
        while words not in self.output[self._seen :]:
            self._read(0.2)
            assert time.monotonic() < deadline, (words, self.output[-3000:])
        self._seen = self.output.index(words, self._seen) + len(words)

    def resize(self, lines: int, columns: int) -> None:
        """Another size, told as a terminal tells it."""
        termios.tcsetwinsize(self.slave, (lines, columns))
        self._screen.resize(lines, columns)
        self.process.send_signal(signal.SIGWINCH)

    def send(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def ended(self) -> int:
        """The exit code; reads on meanwhile, because a full pseudo-terminal would hold the process up."""
        deadline = time.monotonic() + WAIT
        while self.process.poll() is None:
            self._read(0.05)
            assert time.monotonic() < deadline
        while self._read(0.1):
            pass
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)
