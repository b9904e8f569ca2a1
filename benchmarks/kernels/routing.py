"""Which expert each row goes to: random, and with L2 cold."""

import math
import random
from dataclasses import dataclass

from benchmarks.kernels.layers import Experts
from benchmarks.kernels.timing import COLD_BYTES

MOST_CALLS = 24  # of one graph


@dataclass(frozen=True)
class Routing:
    """The experts of each token, `top_k` different ones, and which of the stacks is read."""

    stack: int
    choices: tuple[tuple[int, ...], ...]

    @property
    def flat(self) -> tuple[int, ...]:
        """The expert of each row, token by token: T = tokens * top_k."""
        return tuple(expert for token in self.choices for expert in token)

    @property
    def touched(self) -> int:
        """Different experts met."""
        return len(set(self.flat))


def stacks_needed(stack_bytes: int) -> int:
    """Stacks of experts that together are larger than L2 several times."""
    return max(1, math.ceil(COLD_BYTES / stack_bytes))


def random_routings(
    model: Experts, batch: int, stacks: int, expert_bytes: int, seed: int = 0
) -> list[Routing]:
    """One routing a call of a graph.

    A single token takes the next `top_k` of a shuffled deck of all experts of its stack, so that none comes
    again while L2 holds it. Several tokens draw on their own, as a router without preference would; they
    meet so many experts that the other stacks, which take turns, are enough.
    """
    generator = random.Random(seed)
    touched = min(batch * model.top_k, model.experts)
    calls = min(MOST_CALLS, max(2 * stacks, math.ceil(COLD_BYTES / (touched * expert_bytes))))
    decks: list[list[int]] = [[] for _ in range(stacks)]
    routings = []
    for call in range(calls):
        stack = call % stacks
        if batch == 1:
            choices: tuple[tuple[int, ...], ...] = (_deal(generator, decks[stack], model),)
        else:
            choices = tuple(tuple(generator.sample(range(model.experts), model.top_k)) for _ in range(batch))
        routings.append(Routing(stack, choices))
    return routings


def _deal(generator: random.Random, deck: list[int], model: Experts) -> tuple[int, ...]:
    """The next experts of `deck`, which is filled and shuffled where too few are left."""
    if len(deck) < model.top_k:
        deck[:] = range(model.experts)
        generator.shuffle(deck)
    return tuple(deck.pop() for _ in range(model.top_k))
