"""A job that says far more than a pipe holds, with one line of a megabyte among it."""

import sys

from fqconsole.jobs.messages import DownloadDone

smallest_change = ""
LINES = 5000


def run(request, desk):
    """Write 5000 log lines, the middle one huge."""
    for number in range(LINES):
        text = f"line {number} " + ("x" * 2**20 if number == LINES // 2 else "é🙂" * 20)
        desk.watch.log("info", text)
    print("all said", file=sys.stderr, flush=True)
    desk.put(DownloadDone(t=0.0, run_id=request.run_id, path="/nowhere", bytes=1))
