"""One run: what matters most is measured first, and the time decides about the rest."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch
import transformers

from benchmarks.kernels.checks import measure_accuracy, measure_determinism, measure_peer_determinism
from benchmarks.kernels.experts import measure_experts, measure_humming_experts
from benchmarks.kernels.layers import CLASSES, LLAMA, MAIN, MIXTRAL, QWEN_MOE, Layer, Scheme
from benchmarks.kernels.measure import measure_chain, measure_cublas, measure_ours, measure_peer
from benchmarks.kernels.overheads import measure_eager, measure_first_call, measure_prepare
from benchmarks.kernels.peers import PEERS, Humming, Peer, UnsupportedError
from benchmarks.kernels.points import Record
from benchmarks.kernels.roof import measure_roof
from benchmarks.kernels.timing import SHORT_ROWS, Budget
from benchmarks.kernels.work import Work, sentence_of

PARTS = (
    "cublas", "ours", "chain", "host", "repeats", "schemes", "experts", "accuracy", "peers", "first call",
    "other peers", "rest",
)  # fmt: skip
QUICK_PARTS = ("cublas", "ours", "chain", "host", "repeats", "schemes", "peers", "first call")
Step = tuple[str, Callable[[], None]]
CHAIN_ROWS = (1, 16)
OTHER_PEER_ROWS = (1, 4, 16, 64, 256)  # beside the first scheme: each is a kernel more that Humming compiles
MIXTURES = (QWEN_MOE, MIXTRAL)


@dataclass(frozen=True)
class Choice:
    """What to measure, from the command line."""

    rows: tuple[int, ...]
    classes: tuple[str, ...]
    schemes: tuple[Scheme, ...]
    dtypes: tuple[torch.dtype, ...]
    peers: tuple[str, ...]
    peer_schemes: tuple[Scheme, ...]
    parts: tuple[str, ...]
    seconds: float
    quick: bool
    tune_peers: bool

    @property
    def layers(self) -> list[Layer]:
        return [layer for name in self.classes for layer in CLASSES[name]]

    @property
    def first(self) -> Scheme:
        """The scheme that the checks and the chain take."""
        return MAIN if MAIN in self.schemes else self.schemes[0]

    @property
    def others(self) -> list[Scheme]:
        """The schemes after the first."""
        return [scheme for scheme in self.schemes if scheme != self.first]


def surroundings() -> dict[str, Any]:
    """What the figures depend on."""
    import triton

    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "l2_bytes": properties.L2_cache_size,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton.__version__,
        "transformers": transformers.__version__,
    }


def say(budget: Budget, words: str) -> None:
    """Progress, apart from the report."""
    print(f"{budget.elapsed:6.1f} s  {words}", file=sys.stderr, flush=True)


def open_peers(work: Work, names: Sequence[str], *, tune: bool) -> list[Peer]:
    """The peers that are here; the others become a note."""
    found = []
    for name in names:
        peer = PEERS[name](tune=tune)
        try:
            work.record.facts[name] = peer.open()
        except ImportError as absent:
            work.note(f"{name} is not here: {sentence_of(absent)}")
        except UnsupportedError as reason:
            work.note(f"{name}: {reason}")
        except Exception as problem:  # noqa: BLE001 — a peer's failure is its own
            work.note(f"{name} does not start: {sentence_of(problem)}")
        else:
            found.append(peer)
    return found


def cublas(work: Work, choice: Choice) -> Iterator[Step]:
    """16-bit cuBLAS in every dtype that is compared with it."""
    for dtype in dict.fromkeys((*choice.dtypes, *(PEERS[name].dtypes[0] for name in choice.peers))):
        if work.rows:
            yield "cublas", partial(measure_cublas, work, choice.layers, dtype)


def ours(
    work: Work, choice: Choice, part: str, schemes: Sequence[Scheme], dtypes: Sequence[torch.dtype]
) -> Iterator[Step]:
    """Our linears, cut by layer."""
    for scheme, dtype, layer in product(schemes, dtypes, choice.layers):
        if work.rows:
            yield part, partial(measure_ours, work, [layer], scheme, dtype)


def by_power(work: Work) -> tuple[Work, Work]:
    """The same for few rows of x, and then for many, which draw so much power that clocks may fall.

    On an H200 one row times OPT-175B's qkv took 69 µs in a run that went on to 4,096 rows with each layer,
    and 57 µs in runs without them.
    """
    few = tuple(m for m in work.rows if m <= SHORT_ROWS)
    return replace(work, rows=few), replace(work, rows=tuple(m for m in work.rows if m not in few))


def own_steps(work: Work, choice: Choice) -> Iterator[Step]:
    """(part, what to do) of all that needs no peer, in the order of its weight."""
    first, (main, *more) = choice.first, choice.dtypes
    few, many = by_power(work)
    yield from cublas(few, choice)
    yield from ours(few, choice, "ours", [first], [main])
    chained = [m for m in CHAIN_ROWS if m in work.rows]
    yield "chain", partial(measure_chain, work, LLAMA, chained, first, main)
    yield "host", partial(measure_eager, work)
    yield "host", partial(measure_prepare, work, choice.schemes)
    for dtype in choice.dtypes:
        yield "repeats", partial(measure_determinism, work, first, dtype)
    yield from ours(few, choice, "schemes", choice.others, [main])
    yield from ours(few, choice, "schemes", [first], more)
    yield from cublas(many, choice)
    yield from ours(many, choice, "ours", [first], [main])
    yield from ours(many, choice, "schemes", choice.others, [main])
    yield from ours(many, choice, "schemes", [first], more)
    for model in MIXTURES:
        yield "experts", partial(measure_experts, work, model, first)
    for dtype, scheme in product(choice.dtypes, choice.schemes):
        yield "accuracy", partial(measure_accuracy, work, [scheme], [dtype])


def peer_steps(work: Work, choice: Choice, peers: Sequence[Peer]) -> Iterator[Step]:
    """What is left once the peers are open.

    It comes second: a peer that ends the GPU's context, or changes Triton's settings, takes nothing of ours.
    """
    first, more = choice.first, choice.dtypes[1:]
    for rows, peer, layer in product(by_power(work), peers, choice.layers):
        if rows.rows:
            yield "peers", partial(measure_peer, rows, peer, [layer], first)
    for peer in peers:
        yield "repeats", partial(measure_peer_determinism, work, peer, first)
    yield "first call", partial(measure_first_call, work)
    fewer = replace(work, rows=tuple(m for m in work.rows if m in OTHER_PEER_ROWS))
    for scheme, peer, layer in product(choice.peer_schemes, peers, choice.layers):
        if scheme != first:
            yield "other peers", partial(measure_peer, fewer, peer, [layer], scheme)
    for peer, model in product(peers, MIXTURES):
        if peer.name == Humming.name:
            yield "other peers", partial(measure_humming_experts, work, model, first, peer)
    yield from ours(work, choice, "rest", choice.others, more)


def run(choice: Choice, budget: Budget, keep: Callable[[Record], None]) -> Record:
    """Everything chosen, until the time is over; `keep` is given the record after every part."""
    torch.manual_seed(0)
    say(budget, "roof")
    work = Work(Record(surroundings(), measure_roof(quick=choice.quick)), budget, choice.rows)
    take(own_steps(work, choice), work, choice, keep)
    peers = open_peers(work, choice.peers, tune=choice.tune_peers)
    take(peer_steps(work, choice, peers), work, choice, keep)
    for what in budget.left_out:
        work.note(f"no time was left for {what}")
    work.record.facts["seconds"] = round(budget.elapsed)
    return work.record


@torch.no_grad()
def take(steps: Iterable[Step], work: Work, choice: Choice, keep: Callable[[Record], None]) -> None:
    """The steps of the parts chosen, one after the other."""
    last = ""
    for part, measure in steps:
        if part not in choice.parts:
            continue
        if part != last:
            keep(work.record)  # a run that is ended from outside has lost its last part only
            say(work.budget, part)
            last = part
        attempt(work, part, measure)


def attempt(work: Work, part: str, measure: Callable[[], None]) -> None:
    """One step; what was measured before must not be lost by it."""
    try:
        measure()
    except Exception as problem:  # noqa: BLE001 — the other steps are still worth it
        work.failed(part, problem)
    torch.cuda.empty_cache()
