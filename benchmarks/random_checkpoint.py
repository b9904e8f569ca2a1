"""A packed checkpoint of a real model's shape with random weights, written without a model or a download.

    python -m benchmarks.random_checkpoint llama-3-70b /dev/shm/llama-3-70b-int4 --bits 4
    python -m benchmarks.random_checkpoint llama-3-8b FOLDER --bits 4 --tiny     # its kind, not its size

Codes, scales and what stays in 16 bits go straight to their files, a block of random bytes over and over: the
memory taken is that block's, and the time is the disk's. Tokens are those of the built-in model.
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks._random_model import STD, model_of
from benchmarks._shapes import SHAPES, config_of
from fqconsole.demo import materialize
from fqconsole.jobs.tasks.describe import plain
from quantizer import base_plan
from quantizer.config import CONFIG, INDEX, companion_files, config_bytes, index_bytes
from quantizer.parts import Part, Piece, StoredTensor, plan_parts
from quantizer.plan import Plan
from quantizer.scheme import BITS
from quantizer.shards import build_header

BLOCK = 1 << 26  # random bytes, written again and again
TOKENIZER_OF = "demo"
TOKENS = 2048  # of that tokenizer
DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


@dataclass(frozen=True)
class Blocks:
    """What the files are filled with."""

    codes: memoryview
    weights: memoryview

    @classmethod
    def random(cls, dtype: torch.dtype) -> "Blocks":
        """From a fixed seed."""
        generator = torch.Generator().manual_seed(0)
        codes = torch.randint(-(2**31), 2**31, (BLOCK // 4,), dtype=torch.int32, generator=generator)
        weights = (torch.randn(BLOCK // 2, generator=generator) * STD).to(dtype)
        return cls(_bytes(codes), _bytes(weights))


def write_random_checkpoint(name: str, folder: Path, *, bits: int, tiny: bool = False) -> int:
    """The shape `name` quantized to `bits` in the new folder `folder`; returns the bytes of its weights.

    Raises FileExistsError where `folder` is there already.
    """
    from transformers import CONFIG_MAPPING

    fields = config_of(name, tiny)
    fields["vocab_size"] = max(fields["vocab_size"], TOKENS)
    config = CONFIG_MAPPING[fields["model_type"]].from_dict(fields)
    description, model = model_of(config)
    plan = base_plan(description, bits)
    parts = plan_parts(description, plan)
    dtype = torch.float16 if plan.scale_dtype == "float16" else torch.bfloat16
    blocks = Blocks.random(dtype)
    unfinished = folder.with_name(folder.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    unfinished.mkdir(parents=True)
    for part in parts:
        _write(unfinished / part.file, part, plan, blocks)
    if len(parts) > 1:
        (unfinished / INDEX).write_bytes(index_bytes(parts))
    said: dict[str, Any] = {**plain(config.to_dict()), "architectures": [type(model).__name__]}
    (unfinished / CONFIG).write_bytes(config_bytes(said, plan))
    for companion in companion_files(materialize(TOKENIZER_OF)):
        shutil.copy(companion, unfinished)
    unfinished.rename(folder)
    return sum(part.payload for part in parts)


def _write(path: Path, part: Part, plan: Plan, blocks: Blocks) -> None:
    header, starts = build_header(part.tensors)
    pieces = {item.module: item for item in part.items if isinstance(item, Piece)}
    with path.open("wb") as opened:
        opened.write(header)
        for tensor in sorted(part.tensors, key=lambda tensor: starts[tensor.name]):
            piece = pieces.get(tensor.name.rpartition(".")[0])
            made = _kept(tensor, blocks) if piece is None else _packed(tensor, piece, plan, blocks)
            for data in made:
                opened.write(data)


def _packed(tensor: StoredTensor, piece: Piece, plan: Plan, blocks: Blocks) -> Iterator[memoryview]:
    """Uniform codes, and scales that give weights of about the usual size."""
    leaf = tensor.name.rpartition(".")[2]
    if leaf == "weight_packed":
        yield from _repeated(blocks.codes, tensor.bytes)
    elif leaf == "weight_scale":
        # Codes are uniform over 2^bits values, so their standard deviation is 2^bits / sqrt(12).
        scale = STD * 12**0.5 / 2 ** plan.matrices[piece.matrix].scheme.bits
        yield _bytes(torch.full(tensor.shape, scale, dtype=DTYPES[tensor.dtype]))
    elif leaf == "weight_shape":
        yield _bytes(torch.tensor([piece.rows, piece.k]))
    else:  # a bias
        yield from _kept(tensor, blocks)


def _kept(tensor: StoredTensor, blocks: Blocks) -> Iterator[memoryview]:
    if len(tensor.shape) > 1 and tensor.dtype != "F32":
        yield from _repeated(blocks.weights, tensor.bytes)
        return
    value = 0.0 if tensor.name.endswith("bias") else 1.0
    yield _bytes(torch.full(tensor.shape, value, dtype=DTYPES[tensor.dtype]))


def _repeated(block: memoryview, size: int) -> Iterator[memoryview]:
    for start in range(0, size, len(block)):
        yield block[: min(len(block), size - start)]


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()).cast("B")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bits", type=int, choices=BITS, default=4)
    parser.add_argument("--tiny", action="store_true", help="keep the kind of the shape, not its size")
    asked = parser.parse_args()
    begin = time.perf_counter()
    size = write_random_checkpoint(asked.shape, asked.folder, bits=asked.bits, tiny=asked.tiny)
    seconds = time.perf_counter() - begin
    print(f"{asked.folder}: {size / 2**30:.2f} GiB in {seconds:.1f} s")


if __name__ == "__main__":
    main()
