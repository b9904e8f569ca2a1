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
from collections.abc import Callable

import msgspec

from fqconsole.generation.parallel.orders import Answer, Order, answer_to, decode, encode

ANSWERED = ("hello", "connect", "load", "reserve", "first_nan", "rejoin")


def main() -> None:
    """Carry out one order after the other until standard input ends, whatever is under way then."""
    parser = argparse.ArgumentParser(prog="python -m fqconsole.generation.parallel.follower")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--answers", type=int, required=True)
    given = parser.parse_args()
    os.set_inheritable(given.answers, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the leading rank's to act on
    orders = _Orders()
    threading.Thread(target=_read, args=(orders,), daemon=True).start()
    os.write(given.answers, encode(_attend(given.rank, given.answers, orders)))
    sys.stderr.flush()
    os._exit(1)


class _Orders:
    """What the thread that reads hands to the one that works, which may wait for another rank."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self.free: Callable[[], None] = lambda: None


def _read(orders: _Orders) -> None:
    """The leading rank holds the other end: it is gone when the lines end, and so is this process."""
    for line in sys.stdin.buffer:
        order = decode(line, Order)
        if order.do == "rejoin":
            orders.free()
        orders.waiting.put(order)
    os._exit(0)


def _attend(rank: int, answers: int, orders: _Orders) -> Answer:
    """Returns what ended it: a failure that nobody waits for."""
    import torch

    from fqconsole.generation.parallel.link import ExchangeError
    from fqconsole.generation.parallel.rank import Follower

    follower = Follower(rank)
    orders.free = follower.free
    apart: Answer | None = None  # why this rank has left the exchange
    while True:
        order = orders.waiting.get()
        if order.do == "end":
            follower.close()
            os._exit(0)
        if apart is not None and order.do != "rejoin":  # asked before the leading rank knew
            if order.do in ANSWERED:
                os.write(answers, encode(apart))
            continue
        try:
            with torch.inference_mode(), follower.at_work():
                said = None if order.do == "hello" else getattr(follower, order.do)(order)
            apart = None
        except Exception as error:  # noqa: BLE001 - whatever it is, the leading rank tells it
            traceback.print_exc()
            answer = answer_to(error)
            if order.do == "rejoin":
                return answer
            if order.do in ANSWERED:
                os.write(answers, encode(answer))
                continue
            if answer.memory:
                os.write(answers, encode(msgspec.structs.replace(answer, unasked=True)))
            elif not isinstance(error, ExchangeError):
                return answer
            apart = answer
        else:
            if order.do in ANSWERED:
                os.write(answers, encode(Answer(said=said or "")))
            continue
        follower.leave()


if __name__ == "__main__":
    main()
