"""What is multiplied: the linears of three models by class, the quantization schemes, the expert stacks."""

from dataclasses import dataclass

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)
QUICK_ROWS = (1, 16, 64, 256, 4096)


@dataclass(frozen=True)
class Layer:
    """One linear: `n` output features, `k` input features."""

    model: str
    name: str
    n: int
    k: int

    @property
    def label(self) -> str:
        return f"{self.model} {self.name}"

    def operations(self, rows: int) -> int:
        """Multiplications and additions of `rows` rows."""
        return 2 * rows * self.n * self.k


@dataclass(frozen=True)
class Scheme:
    """Bits of a weight and weights that share a scale; `group_size` None is one scale a row."""

    bits: int
    group_size: int | None

    @property
    def label(self) -> str:
        return f"int{self.bits}-{self.group_size or 'channel'}"

    def packed_bytes(self, n: int, k: int, scale_bytes: int = 2) -> int:
        """Bytes of codes and scales of a matrix `[n, k]`; no smaller form of the same weights exists."""
        words = -(-k * self.bits // 32)
        return n * (4 * words + scale_bytes * (k // (self.group_size or k)))


@dataclass(frozen=True)
class Experts:
    """A mixture-of-experts block: `top_k` of `experts` for each token."""

    label: str
    experts: int
    top_k: int
    hidden: int
    intermediate: int

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(n, k) of one expert's two matrices."""
        return {"gate_up": (2 * self.intermediate, self.hidden), "down": (self.hidden, self.intermediate)}


def _linears(model: str, shapes: dict[str, tuple[int, int]]) -> tuple[Layer, ...]:
    return tuple(Layer(model, name, n, k) for name, (n, k) in shapes.items())


# Published configurations; qkv and gate_up as one matrix each, as an inference engine runs them.
LLAMA = _linears(
    "Llama-8B", {"qkv": (6144, 4096), "o": (4096, 4096), "gate_up": (28672, 4096), "down": (4096, 14336)}
)
OPT_30B = _linears(
    "OPT-30B", {"qkv": (21504, 7168), "o": (7168, 7168), "fc1": (28672, 7168), "fc2": (7168, 28672)}
)
OPT_175B = _linears(
    "OPT-175B", {"qkv": (36864, 12288), "o": (12288, 12288), "fc1": (49152, 12288), "fc2": (12288, 49152)}
)

# A figure of a class is the geometric mean over its layers.
CLASSES: dict[str, tuple[Layer, ...]] = {
    "llama-attention": (LLAMA[0], LLAMA[1]),
    "llama-mlp": (LLAMA[2], LLAMA[3]),
    "opt-30b": OPT_30B,
    "opt-175b": OPT_175B,
}
CLASS_NAMES = {
    "llama-attention": "Llama-8B qkv, o",
    "llama-mlp": "Llama-8B gate_up, down",
    "opt-30b": "OPT-30B",
    "opt-175b": "OPT-175B",
}

# 4 bits in groups of 128 is what every peer has; 64 is this quantizer's default.
MAIN = Scheme(4, 128)
SCHEMES: dict[str, Scheme] = {
    scheme.label: scheme
    for scheme in (
        MAIN, Scheme(4, 64), Scheme(4, 32), Scheme(8, None), Scheme(8, 128), Scheme(3, 128), Scheme(3, 64)
    )
}  # fmt: skip

QWEN_MOE = Experts("Qwen3-30B-A3B", 128, 8, 2048, 768)
MIXTRAL = Experts("Mixtral-8x7B", 8, 2, 4096, 14336)
EXPERT_BATCHES = (1, 16, 64, 1024)
