"""The store: one object on the runs file, with every verb that other rooms need."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from store.comparison import Comparison, compare_runs
from store.database import Database
from store.errors import StoreError
from store.filter_hints import Hint, hint
from store.listing import count_runs, find_rows, list_page, list_runs
from store.points import Point, points
from store.reading import read_gpu_samples, read_memory_history, read_run
from store.retention import Pruned, prune, thin_samples
from store.rows import GpuSampleRow, MemoryPair, Run, RunRow
from store.run_ids import to_number, to_word, unknown
from store.texts import drop_unused, keep_text, recent_prompts
from store.votes import Choice, Tally, add_vote, tally

FINAL = ("done", "failed", "cancelled", "interrupted")
LONGEST_DETAILS = 50_000  # characters of a traceback

_UPDATABLE = ("model", "revision", "path", "bits", "group_size", "granularity", "plan", "options", "host",
              "device", "parent", "pid", "pid_started")  # fmt: skip
_JSON = ("plan", "options", "host")
_GENERATION = ("prompt_hash", "rendered_hash", "output_hash", "sampling", "seed", "ttft_ms",
               "prefill_tok_s", "decode_tok_s", "tokens_in", "tokens_out", "stop_reason")  # fmt: skip
_TEXTS = {"prompt": "prompt_hash", "rendered": "rendered_hash", "output": "output_hash"}


class Store:
    """All runs. Every method raises StoreError when the file can't be used; run ids look like "r0042".

    Writing the same row again replaces it, so a stream of events may be recorded twice.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the runs file, or make it; its schema is brought up to date. Raises StoreError."""
        return cls(Database.open(Path(path)))

    @property
    def path(self) -> Path:
        return self._database.path

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is kept whole or not at all, and costs one commit."""
        with self._database.writing():
            yield

    # Runs come and go.

    def begin_run(
        self,
        kind: str,
        model: str,
        *,
        revision: str | None = None,
        path: str | None = None,
        plan: Mapping[str, Any] | None = None,
        options: Mapping[str, Any],
        host: Mapping[str, Any],
        pid: int,
        pid_started: float,
        parent: str | None = None,
        bits: int | None = None,
        group_size: int | None = None,
        granularity: str | None = None,
        started: float | None = None,
    ) -> str:
        """A new run, `running`, and its id. `pid` and `pid_started` name the process that records it.

        `group_size` 0 is channel, None not known. `started` is seconds since the epoch, now when left out.
        """
        with self._database.writing() as connection:
            cursor = connection.execute(
                """INSERT INTO runs (kind, status, started, model, revision, path, plan, options, host, pid,
                       pid_started, parent, bits, group_size, granularity)
                   VALUES (?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    kind, time.time() if started is None else started, model, revision, path,
                    None if plan is None else _dump(plan), _dump(options), _dump(host), pid, pid_started,
                    None if parent is None else self._number(parent), bits, group_size, granularity,
                ),
            )  # fmt: skip
            return to_word(int(cursor.lastrowid or 0))

    def finish_run(
        self,
        run_id: str,
        status: str,
        *,
        error: Mapping[str, Any] | None = None,
        ended: float | None = None,
    ) -> None:
        """Close a run as done, failed, cancelled or interrupted. A run that is closed keeps its first end,
        unless that was `interrupted`: then its recorder was alive after all.
        """
        if status not in FINAL:
            raise StoreError(f"“{status}” is no end of a run.", f"Use one of {', '.join(FINAL)}.")
        number = self._number(run_id)
        with self._database.writing() as connection:
            connection.execute(
                """UPDATE runs SET status = ?, ended = ?, error = ?
                   WHERE id = ? AND status IN ('running', 'interrupted')""",
                (status, time.time() if ended is None else ended, _error(error), number),
            )
            thin_samples(connection, number)

    def update_run(self, run_id: str, **columns: Any) -> None:
        """Set columns of a run: model, revision, path, bits, group_size, granularity, plan, options, host,
        device, parent, pid, pid_started. `host` is merged into what is known already.
        """
        wrong = sorted(set(columns) - set(_UPDATABLE))
        if wrong:
            raise StoreError(f"A run has no column {wrong[0]} to set.", "")
        number = self._number(run_id)
        with self._database.writing() as connection:
            if "host" in columns:
                row = connection.execute("SELECT host FROM runs WHERE id = ?", (number,)).fetchone()
                columns["host"] = {**json.loads(row["host"]), **columns["host"]}
            if columns.get("parent") is not None:
                columns["parent"] = to_number(columns["parent"])
            for name, value in columns.items():
                stored = _dump(value) if name in _JSON and value is not None else value
                connection.execute(f"UPDATE runs SET {name} = ? WHERE id = ?", (stored, number))

    def mark_interrupted(self, alive: Callable[[int, float], bool]) -> list[str]:
        """Close every running run whose recorder is gone; `alive(pid, start)` tells. Returns their ids."""
        running = self._database.rows("SELECT id, pid, pid_started FROM runs WHERE status = 'running'")
        lost = [row["id"] for row in running if not alive(row["pid"], row["pid_started"])]
        with self._database.writing() as connection:
            connection.executemany(
                "UPDATE runs SET status = 'interrupted', ended = ? WHERE id = ? AND status = 'running'",
                [(time.time(), number) for number in lost],
            )
            for number in lost:
                thin_samples(connection, number)
        return [to_word(number) for number in lost]

    def delete_run(self, run_id: str) -> None:
        """Forget a run and what was measured of it; its checkpoint stays. Raises StoreError while it runs."""
        number = self._number(run_id)
        with self._database.writing() as connection:
            row = connection.execute("SELECT status FROM runs WHERE id = ?", (number,)).fetchone()
            if row["status"] == "running":
                raise StoreError(f"{to_word(number)} is still running.", "Cancel it first.")
            connection.execute("DELETE FROM runs WHERE id = ?", (number,))
            drop_unused(connection)

    # What is measured.

    def add_matrices(self, run_id: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows with name, index, layer, kind, shape, bits, group_size (None = channel), statistic,
        relative_error, bytes, seconds, reason.
        """
        number = self._number(run_id)
        self._database.write_all(
            """INSERT OR REPLACE INTO matrices (run_id, name, position, layer, kind, shape, bits, group_size,
                   statistic, relative_error, bytes, seconds, reason)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            [
                (
                    number, row["name"], row["index"], row["layer"], row["kind"], _dump(row["shape"]),
                    row["bits"], row["group_size"] or 0, _dump(row["statistic"]), row["relative_error"],
                    row["bytes"], row["seconds"], row["reason"],
                )
                for row in rows
            ],
        )  # fmt: skip

    def add_metrics(self, run_id: str, values: Mapping[str, float | None], step: int | None = None) -> None:
        """Numbers by name; None and what is not finite is left out. `step` None is the whole run."""
        number = self._number(run_id)
        self._database.write_all(
            "INSERT OR REPLACE INTO metrics (run_id, name, step, value) VALUES (?, ?, ?, ?)",
            [
                (number, name, -1 if step is None else step, float(value))
                for name, value in values.items()
                if value is not None and math.isfinite(value)
            ],
        )

    def add_generation(self, run_id: str, row: Mapping[str, Any]) -> None:
        """What is known of a generation so far: prompt, rendered, output (texts), sampling, seed, ttft_ms,
        prefill_tok_s, decode_tok_s, tokens_in, tokens_out, stop_reason. Called again it adds to the row.
        """
        number = self._number(run_id)
        with self._database.writing() as connection:
            values = {name: value for name, value in row.items() if name not in _TEXTS}
            for name, column in _TEXTS.items():
                if row.get(name) is not None:
                    values[column] = keep_text(connection, row[name])
            if "sampling" in values:
                values["sampling"] = _dump(values["sampling"])
            wrong = sorted(set(values) - set(_GENERATION))
            if wrong:
                raise StoreError(f"A generation has no column {wrong[0]}.", "")
            connection.execute(
                "INSERT INTO generations (run_id) VALUES (?) ON CONFLICT (run_id) DO NOTHING", (number,)
            )
            for name, value in values.items():
                connection.execute(f"UPDATE generations SET {name} = ? WHERE run_id = ?", (value, number))

    def add_memory(self, run_id: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows with gpu (None = host), term, and predicted or measured bytes; what is there already stays."""
        number = self._number(run_id)
        self._database.write_all(
            """INSERT INTO memory (run_id, gpu, term, predicted, measured) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT (run_id, gpu, term) DO UPDATE SET
                   predicted = coalesce(excluded.predicted, predicted),
                   measured = coalesce(excluded.measured, measured)""",
            [
                (
                    number, -1 if row.get("gpu") is None else row["gpu"], row["term"],
                    row.get("predicted"), row.get("measured"),
                )
                for row in rows
            ],
        )  # fmt: skip

    def add_gpu_samples(self, run_id: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows with t, gpu and, where they could be read, util (%), mem (bytes), power (W), temp (°C)."""
        number = self._number(run_id)
        self._database.write_all(
            """INSERT OR REPLACE INTO gpu_samples (run_id, gpu, t, util, mem, power, temp)
               VALUES (?, ?, ?, ?, ?, ?, ?)""",
            [
                (
                    number, row["gpu"], row["t"], row.get("util"), row.get("mem"), row.get("power"),
                    row.get("temp"),
                )
                for row in rows
            ],
        )  # fmt: skip

    # What is asked.

    def list_runs(
        self, filter: str = "", *, limit: int = 500, offset: int = 0, sort: str = "started desc"
    ) -> list[RunRow]:
        """A page of runs; docs/runs.md tells the filter language. Raises FilterError."""
        return list_runs(self._database, filter, limit=limit, offset=offset, sort=sort)

    def page(
        self, filter: str = "", *, limit: int = 500, offset: int = 0, sort: str = "started desc"
    ) -> tuple[list[RunRow], int]:
        """A page of runs as `list_runs` gives it, and how many match in all. Raises FilterError."""
        return list_page(self._database, filter, limit=limit, offset=offset, sort=sort)

    def filter_hint(self, text: str) -> Hint:
        """What may follow at the end of a filter that is being typed: columns, values of this record."""
        return hint(self._database, text)

    def count_runs(self, filter: str = "") -> int:
        """How many runs match a filter."""
        return count_runs(self._database, filter)

    def run(self, run_id: str) -> Run:
        """Everything of one run. Raises UnknownRunError."""
        run = read_run(self._database, self._number(run_id))
        if run is None:
            raise unknown(run_id)
        return run

    def rows(self, run_ids: Sequence[str]) -> list[RunRow]:
        """The list rows of these runs, in this order. Raises UnknownRunError."""
        return find_rows(self._database, [self._number(run_id) for run_id in run_ids])

    def gpu_samples(self, run_id: str, *, most: int = 600) -> tuple[GpuSampleRow, ...]:
        """Readings during the run, evenly thinned to at most `most` a GPU."""
        return read_gpu_samples(self._database, self._number(run_id), most)

    def compare(
        self, run_ids: Sequence[str], baseline: str | None = None, *, everything: bool = False
    ) -> Comparison:
        """What differs between runs, against `baseline` (default: the marked baseline among them or of the
        same model, else the original in 16 bits, else the first). `everything` keeps the lines where all are
        equal. Raises StoreError.
        """
        return compare_runs(
            self._database,
            [self._number(run_id) for run_id in run_ids],
            None if baseline is None else self._number(baseline),
            everything=everything,
        )

    def points(self, run_ids: Sequence[str]) -> list[Point]:
        """Size, quality and speed of the models of these runs, for a plot. Raises UnknownRunError."""
        return points(self._database, [self._number(run_id) for run_id in run_ids])

    def memory_history(self, limit: int = 200) -> list[MemoryPair]:
        """What the latest answers were predicted to take, and took, newest first."""
        return read_memory_history(self._database, limit)

    def recent_prompts(self, limit: int = 200) -> list[tuple[str, bool]]:
        """The latest prompts, newest first; with True it is a whole conversation."""
        return recent_prompts(self._database, limit)

    def latest_checkpoint_run(self, path: str) -> str | None:
        """The quantize run that last wrote the checkpoint folder `path`."""
        row = self._database.row(
            "SELECT id FROM runs WHERE path = ? AND kind = 'quantize' ORDER BY status = 'done' DESC, id DESC",
            (path,),
        )
        return None if row is None else to_word(row["id"])

    # What people add.

    def set_note(self, run_id: str, note: str) -> None:
        self._set(run_id, "note", note.strip())

    def set_tags(self, run_id: str, tags: Iterable[str]) -> None:
        """Tags are single words, kept in lower case and in order."""
        words = sorted({word for tag in tags for word in tag.lower().split()})
        self._set(run_id, "tags", " ".join(words))

    def set_baseline(self, run_id: str, on: bool = True) -> None:
        """Compare with this run from now on; there is one baseline for each model."""
        number = self._number(run_id)
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE runs SET baseline = 0 WHERE model = (SELECT model FROM runs WHERE id = ?)", (number,)
            )
            connection.execute("UPDATE runs SET baseline = ? WHERE id = ?", (int(on), number))

    def add_vote(self, first: str, second: str, choice: Choice, *, voted: float | None = None) -> None:
        """A blind vote on two answers; `first` was shown as X. `choice`: first, second, tie or neither."""
        add_vote(self._database, self._number(first), self._number(second), choice, voted)

    def tally(self, first: str, second: str) -> Tally:
        """Blind votes between two models, each named by its folder (or its id where it has none)."""
        return tally(self._database, first, second)

    def prune(
        self,
        keep_samples: str | None = None,
        keep_texts: str | None = None,
        *,
        now: float | None = None,
        dry: bool = False,
    ) -> Pruned:
        """Let go of GPU readings, or prompts and answers, of runs older than an age ("30d"); see
        `store.retention`. `dry` only counts. Raises FilterError for what is no age.
        """
        return prune(self._database, keep_samples, keep_texts, now=now, dry=dry)

    def backup(self, path: Path) -> None:
        """A whole copy of the runs file, also while a job records. Raises StoreError where `path` exists."""
        self._database.copy_to(path)

    def _set(self, run_id: str, column: str, value: str) -> None:
        number = self._number(run_id)
        with self._database.writing() as connection:
            connection.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (value, number))

    def _number(self, run_id: str) -> int:
        """The row number of a run that is there. Raises UnknownRunError."""
        number = to_number(run_id)
        if self._database.row("SELECT 1 FROM runs WHERE id = ?", (number,)) is None:
            raise unknown(run_id)
        return number


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _error(error: Mapping[str, Any] | None) -> str | None:
    if error is None:
        return None
    return _dump({**error, "details": str(error.get("details", ""))[-LONGEST_DETAILS:]})
