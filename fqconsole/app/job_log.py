"""What the jobs of this console have said, in the order of its arrival: the last lines of it."""

from collections import deque
from itertools import islice

from fqconsole.jobs.messages import AnyEvent, JobFailed, LogLine

KEPT = 2000  # lines; the whole log of each job is a file

Line = tuple[float, str, str]  # time, level, text


class JobLog:
    """Takes any number of lines and costs what is kept."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self.count = 0  # of all lines ever

    def take(self, event: AnyEvent) -> None:
        """Keep what an event says, if it says anything to read."""
        match event:
            case LogLine():
                self._add(event.t, event.level, event.text)
            case JobFailed():
                self._add(event.t, "error", f"{event.what} {event.next_step}".strip())
                for line in event.details.splitlines():
                    self._add(event.t, "error", line)
            case _:
                pass

    def _add(self, t: float, level: str, text: str) -> None:
        self._lines.append((t, level, text))
        self.count += 1

    def since(self, count: int) -> list[Line]:
        """What came after the first `count` lines, as far as it is kept."""
        new = min(self.count - count, len(self._lines))
        return list(islice(self._lines, len(self._lines) - new, None))
