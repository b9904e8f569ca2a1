"""Models with outlier channels, derived from `demo` by a rescaling that leaves its 16-bit output as it is.

For the channels C chosen at a norm with weight w, and every matrix W [N, K] that reads the norm's output:

    w[c] <- w[c] / 16,   W[:, c] <- W[:, c] * 16   for c in C

16 is a power of two, so each step changes only the exponent of a bf16 number, and each product w[c] * W[n, c]
is what it was, bit for bit. What changes is the range of W's rows, and with it the step of every group that
holds one of the channels.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

Bits = np.ndarray[Any, np.dtype[np.uint16]]

VERSION = 1  # part of the cache folder's name: raise it when what is written changes
EXPONENT_STEP = 4  # 2**4 = 16
BLOCK = 32
SCATTERED = 4

# Which matrices read the output of which norm, in the Llama architecture.
READERS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}


def block_channels(rng: Random, width: int) -> list[int]:
    """One 32-aligned block of 32 channels."""
    begin = BLOCK * rng.randrange(width // BLOCK)
    return list(range(begin, begin + BLOCK))


def scattered_channels(rng: Random, width: int) -> list[int]:
    """Four channels (or as many as there are blocks), each in another block of 32."""
    blocks = rng.sample(range(width // BLOCK), min(SCATTERED, width // BLOCK))
    return sorted(BLOCK * block + rng.randrange(BLOCK) for block in blocks)


CHOOSERS: dict[str, Callable[[Random, int], list[int]]] = {
    "demo-outliers": block_channels,
    "demo-outliers-scattered": scattered_channels,
}


def shift_exponent(bits: Bits, step: int) -> Bits:
    """bf16 numbers, as uint16 of any shape, times 2**step; zeros stay zeros.

    Raises ValueError where a number would leave the normal range (bf16: 1 sign, 8 exponent, 7 fraction bits).
    """
    zero = (bits & 0x7FFF) == 0
    exponent = ((bits >> 7) & 0xFF).astype(np.int32)
    moved = exponent + step
    if np.any(~zero & ((exponent == 0) | (exponent == 255) | (moved < 1) | (moved > 254))):
        raise ValueError("a weight is too small, too large or not finite: it can't be rescaled exactly")
    shifted = (bits & 0x807F) | (np.clip(moved, 0, 255).astype(np.uint16) << 7)
    return np.where(zero, bits, shifted).astype(np.uint16)


def rescale(weights: bytes, model_id: str) -> tuple[bytes, dict[str, list[int]]]:
    """A safetensors file in bf16 with outlier channels at every norm that READERS names, and which they are.

    The channels depend on the model id, the layer and the norm alone. The header stays the same.
    """
    choose = CHOOSERS[model_id]
    size = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + size])
    data = np.frombuffer(weights, dtype=np.uint8, offset=8 + size).copy()

    def tensor(name: str) -> Bits:
        entry = header[name]
        if entry["dtype"] != "BF16":
            raise ValueError(f"{name} is {entry['dtype']}, and only BF16 is rescaled")
        start, end = entry["data_offsets"]
        return data[start:end].view(np.uint16).reshape(entry["shape"])

    chosen: dict[str, list[int]] = {}
    for name in sorted(header):
        prefix, _, norm = name.removesuffix(".weight").rpartition(".")
        if norm not in READERS:
            continue
        scale = tensor(name)
        channels = choose(Random(f"{model_id} {name}"), scale.shape[0])
        scale[channels] = shift_exponent(scale[channels], -EXPONENT_STEP)
        for reader in READERS[norm]:
            matrix = tensor(f"{prefix}.{reader}.weight")
            matrix[:, channels] = shift_exponent(matrix[:, channels], EXPONENT_STEP)
        chosen[name] = channels
    return weights[: 8 + size] + data.tobytes(), chosen


def _card(model_id: str, chosen: dict[str, list[int]]) -> str:
    lines = [
        "---\nlicense: apache-2.0\nlibrary_name: transformers\n---\n",
        f"# {model_id}\n",
        "`demo` with the channels below multiplied by 16 in the matrices that read a norm's output, and",
        "divided by 16 in the norm's weight. In 16 bit it computes what `demo` computes.\n",
        "| norm | channels |",
        "|---|---|",
    ]
    for name, channels in chosen.items():
        whole = len(channels) > SCATTERED
        shown = f"{channels[0]} to {channels[-1]}" if whole else ", ".join(map(str, channels))
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


def derive(model_id: str, source: Path, place: Path) -> Path:
    """The folder of the derived model under `place`, made from `source` unless it is there already.

    The folder is named by a hash of the source's weights, and appears whole or not at all.
    Raises OSError where it can't be written.
    """
    weights = (source / "model.safetensors").read_bytes()
    digest = hashlib.sha256(weights + bytes([VERSION])).hexdigest()[:12]
    final = place / f"{model_id}-{digest}"
    finished = final / "model.safetensors"
    if finished.is_file() and finished.stat().st_size == len(weights):
        return final
    place.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=place))
    try:
        for file in source.iterdir():
            if file.is_file() and file.name not in {"model.safetensors", "README.md", "training.json"}:
                shutil.copyfile(file, scratch / file.name)
        rescaled, chosen = rescale(weights, model_id)
        (scratch / "README.md").write_text(_card(model_id, chosen))
        with (scratch / "model.safetensors").open("wb") as out:
            out.write(rescaled)
            out.flush()
            os.fsync(out.fileno())
        scratch.chmod(0o755)
        if final.exists() and not finished.is_file():
            shutil.rmtree(final)
        try:
            scratch.rename(final)
        except OSError:
            # Another process was faster: its folder holds the same bytes.
            if not finished.is_file():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final
