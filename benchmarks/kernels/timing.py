"""How long a call takes on a GPU: CUDA graphs, a cold L2, the middle of several replays."""

import math
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

COLD_BYTES = 208 << 20  # several times the L2 of any GPU this runs on (60 MB on an H200)
FEWEST_CALLS = 12  # in a graph whose calls are short, so that its own launch counts for little
SHORT_ROWS = 256
SLOW_MS = 60.0  # a call this slow is timed without a graph, three times
TARGET_MS = 12.0  # of timed replays
REPLAYS = (5, 25)


class Budget:
    """The time that a run may take; what comes too late is left out and named."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started = time.monotonic()
        self.left_out: list[str] = []

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def allows(self, what: str, *, seconds: float = 0.0) -> bool:
        """Whether something that takes about so many seconds may still begin; notes it where not."""
        if self.elapsed + seconds < self.seconds:
            return True
        self.left_out.append(what)
        return False


def copies_of(bytes_each: int) -> int:
    """Copies of a weight that together leave no part of one in L2 when its turn comes again."""
    return max(2, math.ceil(COLD_BYTES / bytes_each))


def calls_in_graph(copies: int, rows: int) -> int:
    """Calls that one graph holds: every copy as often as the others."""
    if rows > SHORT_ROWS:
        return copies
    return copies * math.ceil(FEWEST_CALLS / copies)


def replays_for(graph_ms: float) -> int:
    """Replays to take the middle of."""
    least, most = REPLAYS
    return max(least, min(most, math.ceil(TARGET_MS / max(graph_ms, 1e-3))))


def elapsed_ms(call: Callable[[], object]) -> float:
    """Milliseconds between two events around one call."""
    before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    before.record()
    call()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after)


def microseconds_of(calls: Sequence[Callable[[], object]]) -> float:
    """Middle time of one of `calls`, which run one after the other in a CUDA graph.

    Each is called once before: it may compile, tune or allocate then, which a graph must not record.
    """
    calls[0]()
    torch.cuda.synchronize()
    first = elapsed_ms(calls[0])
    if first > SLOW_MS:
        return float(median([first, *(elapsed_ms(call) for call in calls[:2])])) * 1000
    for call in dict.fromkeys(calls):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    torch.cuda.synchronize()
    replays = replays_for(elapsed_ms(graph.replay))
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(replays)]
    for before, after in events:
        before.record()
        graph.replay()
        after.record()
    torch.cuda.synchronize()
    return float(median(before.elapsed_time(after) for before, after in events)) * 1000 / len(calls)
