"""Each number of a run with its spread: over steps, over repeats of a prompt, over runs on its checkpoint."""

import json
import statistics

import msgspec

from store.database import Database
from store.reading import read_run
from store.rows import Run
from store.run_ids import to_number


class Sample(msgspec.Struct, frozen=True):
    """Mean, sample standard deviation (None with one value) and count of what was measured; a count of 0 is
    true by definition. `of_mean`: the spread is the standard error of the mean already, as scores tell it.
    """

    mean: float
    spread: float | None
    n: int
    of_mean: bool = False


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


def completed(database: Database, run: Run) -> dict[str, Sample]:
    """What `samples` knows, and what other runs measured of the same model: for an answer or a measurement
    the quantize run of its checkpoint, for one in 16 bits the runs that were measured against that model.
    """
    known = samples(database, run)
    if run.row.parent is not None:
        made = read_run(database, to_number(run.row.parent))
        if made is not None:
            of_model = samples(database, made)
            known = {**{name: of_model[name] for name in _OF_THE_MODEL if name in of_model}, **known}
    if run.row.bits == 16:
        known = {**_original(database, run.row.model), **known}
    return known


def _original(database: Database, model: str) -> dict[str, Sample]:
    """What runs on its checkpoints say of a 16-bit model; it differs from itself by nothing."""
    by_definition = {"kl_divergence": 0.0, "top1_agreement": 1.0, "bits_per_weight": 16.0}
    known = {name: Sample(value, None, 0) for name, value in by_definition.items()}
    for name, known_as in (("source_bytes", "bytes"), ("reference_perplexity", "perplexity")):
        row = database.row(
            """SELECT m.value AS value FROM metrics m JOIN runs r ON r.id = m.run_id
               WHERE r.model = ? AND m.name = ? AND m.step = -1 AND r.status = 'done' ORDER BY r.id DESC""",
            (model, name),
        )
        if row is not None:
            known[known_as] = Sample(row["value"], None, 1)
    return known


# What a checkpoint is, however a run used it.
_OF_THE_MODEL = (
    "bytes", "bits_per_weight", "model_bits_per_weight", "relative_error", "perplexity", "kl_divergence",
    "top1_agreement", "decode_tok_s", "prefill_tok_s", "ttft_ms",
)  # fmt: skip


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
