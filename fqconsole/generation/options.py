"""How text is sampled: plain data, torch-free, shared by requests, the command line, the screens and the
store.
"""

import math
import secrets

import msgspec

WHOLE_AT_MOST = 2**31 - 1
SEED_LIMIT = 2**31  # a drawn seed stays short enough to be typed again


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`temperature` 0 is greedy; `top_k` 0, `top_p` 1 and `min_p` 0 are off; `seed` None draws one and
    reports it.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


def with_seed(sampling: Sampling) -> Sampling:
    """`sampling` with a seed: its own or a drawn one; greedy sampling needs none and stays as it is."""
    if sampling.greedy or sampling.seed is not None:
        return sampling
    return msgspec.structs.replace(sampling, seed=secrets.randbelow(SEED_LIMIT))


def problem(sampling: Sampling) -> str:
    """What is wrong with these options, as a sentence; empty when nothing is."""
    if sampling.max_new_tokens < 1:
        return f"max_new_tokens is {sampling.max_new_tokens}; it must be at least 1."
    if sampling.max_new_tokens > WHOLE_AT_MOST:
        return f"max_new_tokens is too large; it must be at most {WHOLE_AT_MOST}."
    if not 0 <= sampling.temperature < math.inf:
        return f"temperature is {sampling.temperature:g}; it must be 0 (greedy) or more."
    if not 0 < sampling.top_p <= 1:
        return f"top_p is {sampling.top_p:g}; it must be above 0 and at most 1 (1 = off)."
    if not 0 <= sampling.min_p < 1:
        return f"min_p is {sampling.min_p:g}; it must be at least 0 (off) and below 1."
    if sampling.top_k > WHOLE_AT_MOST:
        return f"top_k is too large; it must be at most {WHOLE_AT_MOST}."
    if sampling.top_k < 0:
        return f"top_k is {sampling.top_k}; it must be 0 (off) or more."
    if not 0 < sampling.repetition_penalty < math.inf:
        return f"repetition_penalty is {sampling.repetition_penalty:g}; it must be above 0 (1 = off)."
    if sampling.seed is not None and not 0 <= sampling.seed < 2**63:
        return f"seed is {sampling.seed}; it must be at least 0 and below 2^63."
    if any(not text for text in sampling.stop):
        return "A stop string is empty."
    return ""
