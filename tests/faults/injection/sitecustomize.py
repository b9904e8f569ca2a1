"""Runs when Python starts in a process under test: makes the system call that FQ_FAULT names go wrong.

`FQ_FAULT` holds JSON: {"call": "os.pwrite", "at": 3, "how": "ENOSPC", "again": true}; `FQ_FAULT_IN` a word
of the command line ("fqconsole.jobs.worker"). Other hows: "half", the call gets half of its bytes; "jump",
the clock is off by a day from then on, now forward, now back; "memory", there is none left; "slow", the call
takes 20 ms more, so that what happens to the job happens in its middle.
"""

import errno
import json
import os
import sys
import time
from time import sleep


class Fault:
    """One call in the place of the real one, wrong from its `at`-th time on (or only then)."""

    def __init__(self, real, at, how, again):
        self.real = real
        self.left = at
        self.how = how
        self.again = again

    def __call__(self, *args, **keywords):
        self.left -= 1
        if self.left == 0 or (self.left < 0 and self.again):
            return self.go_wrong(args, keywords)
        return self.real(*args, **keywords)

    def go_wrong(self, args, keywords):
        if self.how == "jump":
            return self.real(*args, **keywords) + (86_400 if self.left % 2 else -86_400)
        if self.how == "memory":
            raise MemoryError
        if self.how == "slow":
            sleep(0.02)
            return self.real(*args, **keywords)
        if self.how == "half":
            args = halved(args)
        else:
            number = getattr(errno, self.how)
            raise OSError(number, os.strerror(number))
        return self.real(*args, **keywords)


def halved(args):
    """The arguments of pwrite or preadv with half of the bytes asked for, at least one."""
    fd, data, position = args
    if isinstance(data, list):
        (view,) = data
        return fd, [memoryview(view)[: max(1, len(view) // 2)]], position
    return fd, data[: max(1, len(data) // 2)], position


def install():
    fault = json.loads(os.environ.get("FQ_FAULT", "null"))
    if fault is None or os.environ.get("FQ_FAULT_IN", "") not in " ".join(sys.orig_argv):
        return
    room, _, name = fault["call"].partition(".")
    place = {"os": os, "time": time}[room]
    again = fault.get("again", False)
    setattr(place, name, Fault(getattr(place, name), fault["at"], fault["how"], again))


install()
