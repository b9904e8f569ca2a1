"""A run database with one of everything, at fixed times."""

from pathlib import Path

from store import Store
from tests.app.fakes import GIB, NOW

STORY = "She lived by the sea. One day she found a red lantern."
OTHER_STORY = "She lived by the sea. One day she lost a blue kite."
PROMPT = "Once there was a brave girl named Mira."


def begin(store, kind, model, *, ago, took=1.0, status="done", error=None, metrics=None, memory=None, **row):
    run_id = store.begin_run(
        kind,
        model,
        options=row.pop("options", {}),
        host=row.pop("host", {"device_name": "NVIDIA H100 80GB HBM3"}),
        pid=1,
        pid_started=0.0,
        started=NOW - ago,
        **row,
    )
    store.add_metrics(run_id, metrics or {})
    if memory:
        predicted, measured = memory
        store.add_memory(run_id, [{"gpu": 0, "term": "total", "predicted": predicted, "measured": measured}])
    if status != "running":
        store.finish_run(run_id, status, error=error, ended=NOW - ago + took)
    return run_id


def answer(store, model, parent, text, *, ago, tok_s, ttft, seed=7, **row):
    run_id = begin(
        store, "generate", model, ago=ago, parent=parent,
        metrics={"decode_tok_s": tok_s, "ttft_ms": ttft, "prefill_tok_s": 4120.0, "tokens_out": 212}, **row,
    )  # fmt: skip
    store.add_generation(
        run_id,
        {
            "prompt": PROMPT, "output": text, "seed": seed, "ttft_ms": ttft, "prefill_tok_s": 4120.0,
            "decode_tok_s": tok_s, "tokens_in": 10, "tokens_out": 212, "stop_reason": "end",
            "sampling": {"temperature": 0.7, "seed": seed},
        },
    )  # fmt: skip
    return run_id


def seed(store: Store, folder: Path) -> None:
    """r0001 … r0009."""
    qwen, checkpoint = "Qwen/Qwen3-8B", str(folder / "Qwen3-8B-int4")
    begin(
        store, "quantize", qwen, ago=90_000, took=161, path=checkpoint, bits=4, group_size=128,
        granularity="adaptive", options={"model_path": str(folder), "bits": 4},
        metrics={"bytes": 5.7 * GIB, "source_bytes": 15.3 * GIB, "bits_per_weight": 4.31},
        memory=(int(11.2 * GIB), int(11.4 * GIB)),
    )  # fmt: skip
    answer(
        store, qwen, "r0001", STORY, ago=7000, tok_s=148.2, ttft=38.0, path=checkpoint, bits=4,
        group_size=128, memory=(int(7.7 * GIB), int(7.8 * GIB)),
    )  # fmt: skip
    answer(
        store, qwen, None, OTHER_STORY, ago=6000, tok_s=71.3, ttft=61.0, path=str(folder), bits=16,
        memory=(int(17.3 * GIB), int(17.4 * GIB)),
    )  # fmt: skip
    begin(
        store, "evaluate", qwen, ago=5000, took=95, parent="r0001", path=checkpoint, bits=4, group_size=128,
        metrics={"perplexity": 9.81, "reference_perplexity": 9.72, "kl_divergence": 0.0123,
                 "top1_agreement": 0.957, "tokens": 32768},
    )  # fmt: skip
    begin(
        store, "quantize", "google/[gemma]-3-27b-it", ago=4000, took=20, status="failed", bits=3,
        error={"code": "failed", "what": "The disk is full: 0.1 of 19.8 GiB are free in /data/checkpoints.",
               "next_step": "Free space there, or choose another folder with --out.", "details": ""},
    )  # fmt: skip
    begin(store, "quantize", "demo", ago=3000, took=3, status="interrupted", bits=4)
    begin(store, "quantize", "demo", ago=2000, took=3, status="cancelled", bits=8)
    begin(store, "download", "yunwei/千问-小说🙂", ago=1000, took=60, path=str(folder))
    begin(store, "quantize", "demo", ago=60, status="running", bits=4)
    store.set_note("r0002", "for Tuesday's [talk]")
    store.set_tags("r0002", ["demo", "candidate"])


def seed_many_sizes(store: Store) -> None:
    """Checkpoints of one model at several sizes with their quality and speed: r0001 is the 16-bit model."""
    model = "Qwen/Qwen3-8B"
    answer(store, model, None, STORY, ago=9000, tok_s=71.0, ttft=61.0, bits=16, path="/m")
    store.set_baseline("r0001")
    for bits, group, size, perplexity, tok_s in (
        (8, 0, 8.2, 9.73, 104.0), (4, 32, 5.9, 9.79, 140.0), (4, 64, 5.7, 9.81, 148.0),
        (4, 0, 5.6, 10.4, 151.0), (3, 64, 4.6, 11.02, 161.0), (3, 32, 6.5, 10.9, 130.0),
    ):  # fmt: skip
        path = f"/c/int{bits}-{group}"
        made = begin(
            store, "quantize", model, ago=8000, took=60, path=path, bits=bits, group_size=group,
            granularity="fixed",
            metrics={"bytes": size * GIB, "source_bytes": 15.3 * GIB, "bits_per_weight": bits + 0.25},
        )  # fmt: skip
        begin(
            store, "evaluate", model, ago=7000, parent=made, path=path, bits=bits,
            metrics={"perplexity": perplexity, "reference_perplexity": 9.72, "kl_divergence": 0.01},
        )  # fmt: skip
        answer(store, model, made, OTHER_STORY, ago=6000, tok_s=tok_s, ttft=38.0, path=path, bits=bits)
