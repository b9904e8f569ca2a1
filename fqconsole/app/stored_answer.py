"""Answers as the runs keep them, safe to draw."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fqconsole.app import formatting
from fqconsole.app.run_rows import short_model
from fqconsole.app.session_view import milliseconds, speed
from fqconsole.app.visible_text import one_line, visible

if TYPE_CHECKING:
    from store import Run, Store

LATEST = 50  # answers of a checkpoint looked through for its latest


@dataclass(frozen=True)
class StoredAnswer:
    """One answer as the store kept it, with what stands over it and below it."""

    prompt: str
    text: str
    head: str
    meters: str


def stored_answer(run: "Run") -> StoredAnswer | None:
    """The answer of a generate run; None where the run has none."""
    said = run.generation
    if said is None or said.output is None:
        return None
    count = formatting.UNKNOWN if said.tokens_out is None else said.tokens_out
    precision = f" {formatting.precision(run.row.bits)}" if run.row.bits else ""
    return StoredAnswer(
        prompt=visible(said.prompt or ""),
        text=visible(said.output).strip(),
        head=f"{run.row.run_id}  {one_line(short_model(run.row.model))}{precision}",
        meters=f"{speed(said.decode_tok_s)} tok/s · TTFT {milliseconds(said.ttft_ms)} · {count} tokens",
    )


def stored_answers(store: "Store", run_ids: list[str]) -> list[StoredAnswer]:
    """The answers of these runs; of a checkpoint the latest that it gave."""
    answers = []
    for run_id in run_ids:
        run = store.run(run_id)
        if run.generation is None:
            rows = reversed(store.rows(run.children[-LATEST:]))
            latest = next((row for row in rows if row.kind == "generate" and row.status == "done"), None)
            run = store.run(latest.run_id) if latest else run
        answer = stored_answer(run)
        if answer is not None:
            answers.append(answer)
    return answers
