"""Each number of a run with its spread: over steps, over repeats of a prompt, over runs on its checkpoint."""

import json
import statistics

import msgspec

from store.database import Database
from store.rows import Run
from store.run_ids import to_number


class Sample(msgspec.Struct, frozen=True):
    """Mean, sample standard deviation (None with one value) and count of what was measured."""

    mean: float
    spread: float | None
    n: int


def samples(database: Database, run: Run) -> dict[str, Sample]:
    """Every number known of a run, by name."""
    values: dict[str, list[float]] = {}
    for child in run.children if run.row.kind == "quantize" else ():
        _take(database, to_number(child), run.row.run_id, values)
    if run.row.kind == "generate":
        for number in _repeats(database, run):
            _take(database, number, None, values)
    steps: dict[str, list[float]] = {}
    for metric in run.metrics:
        if metric.step is None:
            # A run's own number stands beside those of its repeats, which include it.
            if run.row.kind != "generate" or metric.name not in values:
                values[metric.name] = [metric.value]
        else:
            steps.setdefault(metric.name, []).append(metric.value)
    values.update(steps)
    if run.matrices:
        values["relative_error"] = [statistics.fmean(matrix.relative_error for matrix in run.matrices)]
    if run.row.peak_bytes is not None:
        values["peak_bytes"] = [float(run.row.peak_bytes)]
    if run.row.seconds is not None and run.row.kind != "generate":
        values["seconds"] = [run.row.seconds]
    return {name: _sample(found) for name, found in values.items() if found}


def _sample(values: list[float]) -> Sample:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Sample(statistics.fmean(values), spread, len(values))


def _take(database: Database, number: int, parent: str | None, values: dict[str, list[float]]) -> None:
    """Add the numbers of one done run. Of evaluations the last counts: they are no repeats of each other."""
    rows = database.rows(
        """SELECT m.name, m.value, r.kind FROM metrics m JOIN runs r ON r.id = m.run_id
           WHERE m.run_id = ? AND m.step = -1 AND r.status = 'done'""",
        (number,),
    )
    for row in rows:
        if row["name"] in _OWN:
            continue
        if parent is not None and row["kind"] == "evaluate":
            values[row["name"]] = [row["value"]]
        else:
            values.setdefault(row["name"], []).append(row["value"])


# Of runs on a checkpoint these numbers say something about that run, not about the checkpoint.
_OWN = ("seconds", "bytes", "source_bytes", "tokens_in", "tokens_out")


def _repeats(database: Database, run: Run) -> list[int]:
    """Runs of the same prompt on the same model and device with the same sampling, the seed apart."""
    generation = run.generation
    if generation is None or generation.prompt_hash is None:
        return []
    rows = database.rows(
        """SELECT g.run_id, g.sampling FROM generations g JOIN runs r ON r.id = g.run_id
           WHERE g.prompt_hash = ? AND r.path IS ? AND r.device IS ? AND r.status = 'done'""",
        (generation.prompt_hash, run.row.path, run.row.device),
    )
    wanted = _seedless(generation.sampling)
    return [row["run_id"] for row in rows if _seedless(json.loads(row["sampling"])) == wanted]


def _seedless(sampling: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in sampling.items() if name != "seed"}
