"""Where a checkpoint comes from and what is known of it: read from the runs, in the store's thread."""

import os
from dataclasses import dataclass, replace
from typing import Any

MOST = 200  # latest 16-bit answers looked through for the speed of the original


@dataclass(frozen=True)
class Quality:
    """What an evaluation of a checkpoint against its 16-bit model came to."""

    run_id: str
    perplexity: float
    reference_perplexity: float
    kl_divergence: float
    top1_agreement: float
    tokens: int


@dataclass(frozen=True)
class Origin:
    """None is "not known"; bytes are those of the files."""

    run_id: str | None = None  # the quantize run
    reference_path: str | None = None  # the 16-bit model that it was made from
    bytes: int | None = None
    source_bytes: int | None = None
    quality: Quality | None = None
    reference_tok_s: float | None = None


def find_origin(store: Any, path: str, parent_run: str | None, reference_path: str | None) -> Origin:
    """What the runs tell of the checkpoint in folder `path`. Raises StoreError."""
    made_by = parent_run or store.latest_checkpoint_run(os.path.realpath(path))
    if made_by is None:
        return Origin(reference_path=reference_path)
    run = store.run(made_by)
    origin = Origin(
        run_id=made_by,
        reference_path=reference_path or run.options.get("model_path"),
        bytes=_whole(run.metric("bytes")),
        source_bytes=_whole(run.metric("source_bytes")),
        quality=_latest_quality(store, run.children),
    )
    return replace(origin, reference_tok_s=_speed_of(store, run.row.model, origin.reference_path))


def model_key(path: str) -> str:
    """How the runs name the model in a folder, or at the address of a server."""
    return path if "://" in path else os.path.realpath(path)


def bits_per_weight(path: str, store: Any) -> float | None:
    """Stored bits over the quantized weights of the checkpoint in folder `path`. Raises StoreError."""
    made_by = store.latest_checkpoint_run(model_key(path))
    found: float | None = store.run(made_by).metric("bits_per_weight") if made_by else None
    return found


def _latest_quality(store: Any, children: tuple[str, ...]) -> Quality | None:
    rows = [row for row in store.rows(children) if row.kind == "evaluate" and row.status == "done"]
    return quality_of(store, rows[-1].run_id) if rows else None


def quality_of(store: Any, run_id: str) -> Quality | None:
    """The numbers of one evaluation; None where they are not whole."""
    run = store.run(run_id)
    names = ("perplexity", "reference_perplexity", "kl_divergence", "top1_agreement", "tokens")
    values = {name: run.metric(name) for name in names}
    if any(value is None for value in values.values()):
        return None
    return Quality(run_id=run_id, **{**values, "tokens": int(values["tokens"])})


def _speed_of(store: Any, model: str, reference_path: str | None) -> float | None:
    """Decode tok/s of the latest answer of the 16-bit original."""
    if reference_path is None:
        return None
    folder = os.path.realpath(reference_path)
    rows = store.list_runs(
        f'kind=generate status=done bits=16 model="{model.replace(chr(34), "")}"', limit=MOST
    )
    return next((row.decode_tok_s for row in rows if row.path == folder and row.decode_tok_s), None)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
