"""The process of a rank that isn't the leading one; `ranks` starts it and it ends with that process.

`python -m fqconsole.generation.parallel.follower --rank N --answers FD`: orders come as JSON lines on
standard input, answers to those that ask for one go to descriptor FD.
"""

import argparse
import os
import queue
import signal
import sys
import threading
import traceback

from fqconsole.generation.parallel.orders import Answer, Order, answer_to, decode, encode

ANSWERED = ("hello", "connect", "load", "reserve", "first_nan")


def main() -> None:
    """Carry out one order after the other until standard input ends, whatever is under way then."""
    parser = argparse.ArgumentParser(prog="python -m fqconsole.generation.parallel.follower")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--answers", type=int, required=True)
    given = parser.parse_args()
    os.set_inheritable(given.answers, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the leading rank's to act on
    waiting: queue.SimpleQueue[Order] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(waiting,), daemon=True).start()
    os.write(given.answers, encode(_attend(given.rank, given.answers, waiting)))
    sys.stderr.flush()
    os._exit(1)


def _read(waiting: "queue.SimpleQueue[Order]") -> None:
    """The leading rank holds the other end: it is gone when the lines end, and so is this process."""
    for line in sys.stdin.buffer:
        waiting.put(decode(line, Order))
    os._exit(0)


def _attend(rank: int, answers: int, waiting: "queue.SimpleQueue[Order]") -> Answer:
    """Returns what ended it: a failure that nobody waits for."""
    import torch

    from fqconsole.generation.parallel.rank import Follower

    follower = Follower(rank)
    while True:
        order = waiting.get()
        if order.do == "end":
            follower.close()
            os._exit(0)
        try:
            with torch.inference_mode(), follower.at_work():
                said = None if order.do == "hello" else getattr(follower, order.do)(order)
        except Exception as error:  # noqa: BLE001 - whatever it is, the leading rank tells it
            traceback.print_exc()
            if order.do not in ANSWERED:
                return answer_to(error)
            os.write(answers, encode(answer_to(error)))
        else:
            if order.do in ANSWERED:
                os.write(answers, encode(Answer(said=said or "")))


if __name__ == "__main__":
    main()
