"""A dense model of about 100M parameters, trained on the text files of a folder, for the tables of quality.

    python -m benchmarks.quality.train --text FOLDER [--suffix .py] --out /tmp/hundred [--seconds 300]
    python -m benchmarks.quality --models /tmp/hundred --text /tmp/hundred/heldout.txt

One file in fifty, chosen by the hash of its path, is held out: its text is what the model is scored on.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

from fqconsole.demo.tokens import MARK, byte_pairs, save_tokenizer
from fqconsole.demo.train import WINDOW, Windows, perplexity, train

VOCABULARY = 8192
HELD_OUT = 50  # one file in so many
HELD_OUT_BYTES = 2_000_000
TOKENIZER_FILES = 4000
ENCODED_FILES = 512  # at a time


def sources(folder: Path, suffix: str, most_bytes: int) -> tuple[list[Path], list[Path]]:
    """The files to train on and those held out, in the order of their hashes, `most_bytes` of the first."""
    if not folder.is_dir():
        raise SystemExit(f"{folder} is not a folder.")
    hashed = sorted(
        (hashlib.sha256(str(path.relative_to(folder)).encode()).digest(), path)
        for path in folder.rglob(f"*{suffix}")
        if path.is_file()
    )
    chosen: list[Path] = []
    held: list[Path] = []
    size = 0
    for digest, path in hashed:
        if digest[-1] * 256 + digest[-2] < 65536 // HELD_OUT:
            held.append(path)
        elif size < most_bytes:
            chosen.append(path)
            size += path.stat().st_size
    if not chosen or not held:
        raise SystemExit(f"{folder} holds too few *{suffix} files to train on some and hold out others.")
    return chosen, held


def texts(paths: list[Path]) -> Iterator[str]:
    """What the files say; what is no UTF-8 is replaced."""
    return (path.read_text(errors="replace") for path in paths)


def encoded(tokenizer: Tokenizer, paths: list[Path]) -> torch.Tensor:
    """All files as one int16 row of tokens, the mark before each."""
    rows = []
    for first in range(0, len(paths), ENCODED_FILES):
        batch = [MARK + text for text in texts(paths[first : first + ENCODED_FILES])]
        found = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        rows.extend(np.array(row.ids, dtype=np.int16) for row in found)
    return torch.from_numpy(np.concatenate(rows))


def fresh_model(mark: int, *, tiny: bool) -> Any:
    """A Llama of 101M parameters (`tiny`: a toy) with fresh weights in float32."""
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64 if tiny else 768,
        intermediate_size=128 if tiny else 2048,
        num_hidden_layers=2 if tiny else 15,
        num_attention_heads=1 if tiny else 12,
        num_key_value_heads=1 if tiny else 4,
        head_dim=64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=mark,
        eos_token_id=mark,
    )
    return transformers.LlamaForCausalLM(config).float()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.train", description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="folder of text files")
    parser.add_argument("--suffix", default=".py", help="the files to read")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and heldout.txt")
    parser.add_argument("--seconds", type=float, default=300, help="time for training")
    parser.add_argument("--megabytes", type=int, default=400, help="text to train on at most")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tiny", action="store_true", help="a smoke test")
    chosen = parser.parse_args()
    begun = time.monotonic()
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    paths, held = sources(chosen.text, chosen.suffix, chosen.megabytes * 1_000_000)
    tokenizer = byte_pairs(texts(paths[:TOKENIZER_FILES]), VOCABULARY)
    mark = tokenizer.token_to_id(MARK)
    row = encoded(tokenizer, paths).to(device)
    print(f"{len(paths):,} files, {len(row):,} tokens after {time.monotonic() - begun:.0f} s", flush=True)
    model = fresh_model(mark, tiny=chosen.tiny).to(device)
    options = argparse.Namespace(
        lr=1e-3, warmup=200, batch=chosen.batch, steps=0, report=500, no_compile=chosen.tiny, seed=0
    )
    record = train(model, Windows(row, mark, 0), options, time.monotonic() + chosen.seconds)

    model.to(torch.bfloat16).save_pretrained(chosen.out)
    save_tokenizer(tokenizer, chosen.out)
    heldout = MARK.join(texts(held))[:HELD_OUT_BYTES]
    (chosen.out / "heldout.txt").write_text(heldout)
    ids = torch.tensor(tokenizer.encode(heldout, add_special_tokens=False).ids)[: 64 * WINDOW]
    record |= {
        "parameters": sum(p.numel() for p in model.parameters()),
        "perplexity": round(perplexity(model, ids[: len(ids) // WINDOW * WINDOW].view(-1, WINDOW)), 3),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
