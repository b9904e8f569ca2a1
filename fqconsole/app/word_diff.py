"""Where two texts part, word by word: the stretches of each that the other does not have."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

_WORD = re.compile(r"\w+|[^\w\s]")
MOST_WORDS = 1000  # compared after the first difference: the time grows with its square, here some 30 ms

Span = tuple[int, int]  # places of characters, the end not included


@dataclass(frozen=True)
class WordDiff:
    """`first` and `second` are the stretches that differ, in order. `shared` is the part of all words that
    both have, 0 to 1; `same_words` counts words before the texts part, None where they never do.
    """

    first: tuple[Span, ...]
    second: tuple[Span, ...]
    shared: float
    same_words: int | None


def word_diff(first: str, second: str) -> WordDiff:
    """Blanks and line breaks do not count. What lies far behind the first difference counts as different."""
    a, b = list(_WORD.finditer(first)), list(_WORD.finditer(second))
    words_a, words_b = [match[0] for match in a], [match[0] for match in b]
    same = _common(words_a, words_b)
    if same == len(a) == len(b):
        return WordDiff((), (), 1.0, None)
    left, right = words_a[same : same + MOST_WORDS], words_b[same : same + MOST_WORDS]
    blocks = SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
    shared = same + sum(block.size for block in blocks)
    return WordDiff(
        first=_between(a, [(same + block.a, block.size) for block in blocks], same),
        second=_between(b, [(same + block.b, block.size) for block in blocks], same),
        shared=2 * shared / (len(a) + len(b)),
        same_words=same,
    )


def _common(first: list[str], second: list[str]) -> int:
    """How many words both begin with."""
    return next(
        (place for place, (x, y) in enumerate(zip(first, second, strict=False)) if x != y),
        min(len(first), len(second)),
    )


def _between(words: list[re.Match[str]], blocks: list[tuple[int, int]], start: int) -> tuple[Span, ...]:
    """The stretches of text between the words that both have."""
    spans: list[Span] = []
    at = start
    for place, size in [*blocks, (len(words), 0)]:
        if place > at:
            spans.append((words[at].start(), words[place - 1].end()))
        at = max(at, place + size)
    return tuple(spans)
