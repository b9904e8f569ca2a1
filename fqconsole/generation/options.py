"""How text is sampled: plain data, torch-free, shared by requests, the command line, the screens and the store."""

import msgspec


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`temperature` 0 is greedy; `top_k` 0, `top_p` 1 and `min_p` 0 are off; `seed` None draws one and reports it."""

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
