"""From stories to tokens: the byte-level BPE tokenizer of the built-in models, and the rows trained on."""

import json
import multiprocessing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from fqconsole.demo.corpus import documents, heldout_seeds, story, training_seeds

Tokens = np.ndarray[Any, np.dtype[Any]]

MARK = "<|story|>"  # begins every document and ends the one before: both bos and eos
VOCABULARY = 2048


def train_tokenizer(stories: int, seed: int) -> Tokenizer:
    """The tokenizer of the built-in models, made from so many training stories."""
    return byte_pairs((story(s) + "\n\n" for s in training_seeds(stories, seed)), VOCABULARY)


def byte_pairs(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE with `vocabulary` entries, made from `texts`; an encoded text gets MARK in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[MARK],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    mark = tokenizer.token_to_id(MARK)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{MARK} $A", pair=f"{MARK} $A $B", special_tokens=[(MARK, mark)]
            ),
        ]
    )
    return tokenizer


def encode_documents(tokenizer: Tokenizer, seeds: range) -> Tokens:
    """The documents of these seeds as one int16 row (2048 < 32768), MARK before each."""
    texts = [MARK + document for document in documents(seeds)]
    rows = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return np.array([token for row in rows for token in row.ids], dtype=np.int16)


def _share(job: tuple[str, range]) -> Tokens:
    return encode_documents(Tokenizer.from_str(job[0]), job[1])


def training_tokens(tokenizer: Tokenizer, stories: int, seed: int, workers: int) -> Tokens:
    """All training stories as one int16 row of tokens."""
    seeds = training_seeds(stories, seed)
    share = 2000
    text = tokenizer.to_str()
    jobs = [(text, seeds[i : i + share]) for i in range(0, len(seeds), share)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        rows = list(pool.imap(_share, jobs, chunksize=4))
    return np.concatenate(rows)


def heldout_tokens(tokenizer: Tokenizer, stories: int, window: int) -> Tokens:
    """Held-out stories as int64 rows [B, window] that each begin with MARK."""
    body = encode_documents(tokenizer, heldout_seeds(stories))[1:].astype(np.int64)
    rows = body[: len(body) // (window - 1) * (window - 1)].reshape(-1, window - 1)
    return np.pad(
        rows, ((0, 0), (1, 0)), constant_values=tokenizer.encode(MARK, add_special_tokens=False).ids[0]
    )


def save_tokenizer(tokenizer: Tokenizer, out: Path) -> None:
    """The files from which AutoTokenizer makes the same tokenizer."""
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": MARK,
        "eos_token": MARK,
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
