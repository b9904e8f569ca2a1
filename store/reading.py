"""Everything of one run, read from its tables."""

import json
import sqlite3
from typing import Any

from store.database import Database
from store.listing import find_rows
from store.rows import GenerationRow, GpuSampleRow, MatrixRow, MemoryPair, MemoryRow, MetricRow, Run
from store.run_ids import to_word
from store.votes import votes_of


def read_run(database: Database, number: int) -> Run | None:
    """The run, or None where there is none."""
    found = find_rows(database, [number])
    extra = database.row("SELECT plan, options, host, error FROM runs WHERE id = ?", (number,))
    if not found or extra is None:
        return None
    return Run(
        row=found[0],
        options=_json(extra["options"]) or {},
        host=_json(extra["host"]) or {},
        plan=_json(extra["plan"]),
        error=_json(extra["error"]),
        metrics=_metrics(database, number),
        matrices=_matrices(database, number),
        memory=_memory(database, number),
        generation=_generation(database, number),
        children=tuple(
            to_word(row["id"])
            for row in database.rows("SELECT id FROM runs WHERE parent = ? ORDER BY id", (number,))
        ),
        votes=votes_of(database, number),
    )


def read_gpu_samples(database: Database, number: int, most: int) -> tuple[GpuSampleRow, ...]:
    """At most `most` readings of each GPU, evenly thinned, in order of time."""
    rows = database.rows(
        """SELECT t, gpu, util, mem, power, temp FROM (
               SELECT *, row_number() OVER (PARTITION BY gpu ORDER BY t) - 1 AS place,
                   count(*) OVER (PARTITION BY gpu) AS many
               FROM gpu_samples WHERE run_id = ?
           ) WHERE place % ((many + ? - 1) / ?) = 0 ORDER BY t, gpu""",
        (number, most, most),
    )
    return tuple(GpuSampleRow(**dict(row)) for row in rows)


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _metrics(database: Database, number: int) -> tuple[MetricRow, ...]:
    rows = database.rows(
        "SELECT name, step, value FROM metrics WHERE run_id = ? ORDER BY name, step", (number,)
    )
    return tuple(
        MetricRow(name=row["name"], value=row["value"], step=None if row["step"] == -1 else row["step"])
        for row in rows
    )


def _matrices(database: Database, number: int) -> tuple[MatrixRow, ...]:
    rows = database.rows("SELECT * FROM matrices WHERE run_id = ? ORDER BY position, name", (number,))
    return tuple(
        MatrixRow(
            name=row["name"],
            layer=row["layer"],
            kind=row["kind"],
            shape=tuple(_json(row["shape"])),
            bits=row["bits"],
            group_size=row["group_size"] or None,
            statistic=_json(row["statistic"]),
            relative_error=row["relative_error"],
            bytes=row["bytes"],
            seconds=row["seconds"],
            reason=row["reason"],
        )
        for row in rows
    )


def _memory(database: Database, number: int) -> tuple[MemoryRow, ...]:
    rows = database.rows(
        "SELECT gpu, term, predicted, measured FROM memory WHERE run_id = ? ORDER BY gpu, term", (number,)
    )
    return tuple(
        MemoryRow(
            gpu=None if row["gpu"] == -1 else row["gpu"],
            term=row["term"],
            predicted=row["predicted"],
            measured=row["measured"],
        )
        for row in rows
    )


def read_memory_history(database: Database, limit: int) -> list[MemoryPair]:
    """The latest runs with terms that were both predicted and measured, newest first."""
    rows = database.rows(
        """SELECT run_id, gpu, started, model, bits, host,
               json_group_object(term, json_array(predicted, measured)) AS terms
           FROM memory JOIN runs ON runs.id = run_id
           WHERE predicted IS NOT NULL AND measured IS NOT NULL AND kind = 'generate' AND status = 'done'
           GROUP BY run_id, gpu ORDER BY run_id DESC, gpu LIMIT ?""",
        (limit,),
    )
    return [_memory_pair(row) for row in rows]


def _memory_pair(row: sqlite3.Row) -> MemoryPair:
    host = _json(row["host"]) or {}
    return MemoryPair(
        run_id=to_word(row["run_id"]),
        started=row["started"],
        model=row["model"],
        bits=row["bits"],
        gpu=None if row["gpu"] == -1 else row["gpu"],
        device_name=host.get("device_name", ""),
        versions=host.get("versions", {}),
        terms={term: (predicted, measured) for term, (predicted, measured) in _json(row["terms"]).items()},
    )


def _generation(database: Database, number: int) -> GenerationRow | None:
    row = database.row("SELECT * FROM generations WHERE run_id = ?", (number,))
    if row is None:
        return None
    plain = ("prompt_hash", "output_hash", "seed", "ttft_ms", "prefill_tok_s", "decode_tok_s",
             "tokens_in", "tokens_out", "stop_reason")  # fmt: skip
    return GenerationRow(
        prompt=_text(database, row, "prompt_hash"),
        rendered=_text(database, row, "rendered_hash"),
        output=_text(database, row, "output_hash"),
        sampling=_json(row["sampling"]),
        **{name: row[name] for name in plain},
    )


def _text(database: Database, row: sqlite3.Row, column: str) -> str | None:
    found = database.row("SELECT text FROM texts WHERE hash = ?", (row[column],))
    return None if found is None else str(found["text"])
