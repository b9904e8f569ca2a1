"""The seeded story generator: one seed, one story, on every machine; held-out seeds are never trained on."""

from random import Random

from fqconsole.demo.grammar import tell
from fqconsole.demo.plots import PLOTS

# Stories from here on are for evaluation; training seeds stay below.
HELDOUT_START = 1 << 40
MORE_STORIES = 0.3  # chance that another story follows after a blank line in the same document


def story(seed: int) -> str:
    """One story as a single paragraph of five to about ten sentences."""
    rng = Random(seed)
    return tell(rng.choice(PLOTS), rng)


def training_seeds(stories: int, seed: int = 0) -> range:
    """Seeds of `stories` training stories; another `seed` gives another range, none of them held out.

    Raises ValueError where the range would reach the held-out seeds.
    """
    start = seed * 100_000_000
    if stories < 0 or start < 0 or start + stories > HELDOUT_START:
        raise ValueError(f"{stories} stories from seed {seed} would not stay below the held-out seeds")
    return range(start, start + stories)


def heldout_seeds(stories: int) -> range:
    """Seeds of `stories` stories that no training run sees."""
    return range(HELDOUT_START, HELDOUT_START + stories)


def heldout_text(stories: int = 200) -> str:
    """Held-out stories as one text, a blank line between them: what evaluation reads by default."""
    return "\n\n".join(story(seed) for seed in heldout_seeds(stories))


def documents(seeds: range) -> list[str]:
    """Documents of one or more stories, without MARK; which stories share one depends on the seeds alone."""
    found, current = [], ""
    for seed in seeds:
        current += story(seed)
        # A multiplicative hash (Knuth, 2^32 / golden ratio) gives a coin for each seed.
        if (seed * 2654435761 % 2**32) / 2**32 < MORE_STORIES:
            current += "\n\n"
        else:
            found.append(current)
            current = ""
    return [*found, current.strip()] if current else found
