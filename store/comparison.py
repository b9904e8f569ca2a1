"""Runs side by side: only what differs, against a baseline; is a change better, worse or noise?"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from store.database import Database
from store.errors import StoreError
from store.noise import margin
from store.reading import read_run
from store.rows import Run
from store.run_ids import to_number, to_word, unknown
from store.samples import Sample, completed
from store.task_scores import label_of, lower_is_better, task_names, unit_of, with_errors
from store.wording import UNKNOWN, Unit, show, show_change, show_precision

Verdict = Literal["", "better", "worse", "same", "within noise"]
Better = Literal["lower", "higher", ""]

LONGEST_VALUE = 60  # characters of a prompt or a path in a comparison


class Cell(msgspec.Struct, frozen=True):
    """One run's value in one line. `change` is relative to the baseline; the baseline itself has none."""

    text: str
    value: float | None = None
    spread: float | None = None
    n: int = 0
    change: float | None = None
    change_text: str = ""
    verdict: Verdict = ""


class ComparisonRow(msgspec.Struct, frozen=True):
    """One line: a setting or a measured number, with a cell for each run."""

    name: str
    label: str
    unit: Unit | Literal["text"]
    better: Better
    cells: tuple[Cell, ...]


class Comparison(msgspec.Struct, frozen=True):
    """`rows` in a fixed order, settings first; `same` lines are equal for all runs and left out."""

    run_ids: tuple[str, ...]
    baseline: str
    rows: tuple[ComparisonRow, ...]
    same: int


class _Measure(msgspec.Struct, frozen=True):
    name: str
    label: str
    unit: Unit
    better: Better
    of_the_job: bool = False  # says something about this kind of job, not about the model it worked on
    timing: bool = False  # comes out a little different each time


_MEASURES = (
    _Measure("bytes", "weights", "bytes", "lower"),
    _Measure("bits_per_weight", "bits per weight", "number", "lower"),
    _Measure("model_bits_per_weight", "bits per weight, kept ones too", "number", "lower"),
    _Measure("relative_error", "mean relative error", "number", "lower"),
    _Measure("perplexity", "perplexity", "perplexity", "lower"),
    _Measure("reference_perplexity", "perplexity of the 16-bit model", "perplexity", ""),
    _Measure("kl_divergence", "KL divergence", "number", "lower"),
    _Measure("top1_agreement", "same top token", "share", "higher"),
    _Measure("decode_tok_s", "tok/s", "tok/s", "higher", timing=True),
    _Measure("prefill_tok_s", "prefill tok/s", "tok/s", "higher", timing=True),
    _Measure("ttft_ms", "TTFT", "ms", "lower", timing=True),
    _Measure("peak_bytes", "peak memory", "bytes", "lower", of_the_job=True),
    _Measure("load_seconds", "load time", "s", "lower", timing=True),
    _Measure("seconds", "time", "s", "lower", of_the_job=True, timing=True),
    _Measure("tokens", "tokens scored", "count", ""),
    _Measure("tokens_in", "prompt tokens", "count", ""),
    _Measure("tokens_out", "new tokens", "count", ""),
)

_SETTINGS: tuple[tuple[str, str, Callable[[Run], Any]], ...] = (
    ("kind", "kind", lambda run: run.row.kind),
    ("status", "status", lambda run: run.row.status),
    ("model", "model", lambda run: run.row.model),
    ("revision", "revision", lambda run: run.row.revision),
    ("bits", "bits / group", lambda run: show_precision(run.row.bits, run.row.group)),
    ("granularity", "granularity", lambda run: run.row.granularity),
    ("device", "device", lambda run: run.host.get("device_name") or run.row.device),
    ("prompt", "prompt", lambda run: run.generation.prompt if run.generation else None),
)
# Options that another line shows already, or that only name places.
_HIDDEN_OPTIONS = {"bits", "granularity", "group_size", "device", "out", "model_path", "checkpoint_path",
                   "prompt", "sampling"}  # fmt: skip


def compare_runs(
    database: Database, numbers: list[int], baseline: int | None, *, everything: bool
) -> Comparison:
    """See Store.compare."""
    if not numbers:
        raise StoreError("There is nothing to compare.", "Name at least one run.")
    runs = [_read(database, number) for number in dict.fromkeys(numbers)]
    chosen = baseline if baseline is not None else _find_baseline(database, runs)
    base = to_word(chosen)
    if base not in {run.row.run_id for run in runs}:
        runs.insert(0, _read(database, chosen))
    # The baseline stands first: every change is read against it.
    runs.sort(key=lambda run: run.row.run_id != base)
    lines = [*_settings(runs), *_measures(runs, [completed(database, run) for run in runs])]
    kept = [line for line in lines if everything or _differs(line)]
    return Comparison(
        run_ids=tuple(run.row.run_id for run in runs),
        baseline=base,
        rows=tuple(kept),
        same=len(lines) - len(kept),
    )


def as_table(comparison: Comparison) -> tuple[tuple[str, ...], list[list[str]]]:
    """Head and lines of texts: a run's change and verdict stand behind its value."""
    head = ("", *(f"{run} (baseline)" if run == comparison.baseline else run for run in comparison.run_ids))
    lines = [
        [row.label, *(" ".join(filter(None, (c.text, c.change_text, c.verdict))) for c in row.cells)]
        for row in comparison.rows
    ]
    return head, lines


def _read(database: Database, number: int) -> Run:
    run = read_run(database, number)
    if run is None:
        raise unknown(to_word(number))
    return run


def _find_baseline(database: Database, runs: list[Run]) -> int:
    """The marked one among the runs, else the one marked for the first run's model, else the original in 16
    bits, else the first run.
    """
    for run in runs:
        if run.row.baseline:
            return to_number(run.row.run_id)
    row = database.row("SELECT id FROM runs WHERE baseline = 1 AND model = ?", (runs[0].row.model,))
    if row is not None:
        return int(row["id"])
    original = next((run for run in runs if run.row.bits == 16), runs[0])
    return to_number(original.row.run_id)


def _differs(line: ComparisonRow) -> bool:
    return len({cell.text for cell in line.cells}) > 1


def _settings(runs: list[Run]) -> list[ComparisonRow]:
    lines = [_text_row(name, label, [read(run) for run in runs]) for name, label, read in _SETTINGS]
    for part, read in (("", _options), ("sampling ", _sampling), ("version of ", _versions)):
        found = [read(run) for run in runs]
        names = dict.fromkeys(name for values in found for name in values)
        lines += [
            _text_row(name, part + name.replace("_", " "), [values.get(name) for values in found])
            for name in names
        ]
    return [line for line in lines if any(cell.text != UNKNOWN for cell in line.cells)]


def _options(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.options.items() if name not in _HIDDEN_OPTIONS}


def _sampling(run: Run) -> dict[str, Any]:
    return dict(run.generation.sampling) if run.generation else {}


def _versions(run: Run) -> dict[str, Any]:
    versions = run.host.get("versions")
    return dict(versions) if isinstance(versions, dict) else {}


def _text_row(name: str, label: str, values: list[Any]) -> ComparisonRow:
    cells = tuple(Cell(text=_short(value)) for value in values)
    return ComparisonRow(name=name, label=label, unit="text", better="", cells=cells)


def _short(value: Any) -> str:
    if value is None or value == "":
        return UNKNOWN
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _measures(runs: list[Run], found: list[dict[str, Sample]]) -> list[ComparisonRow]:
    lines = []
    found = [with_errors(known) for known in found]
    for measure in (*_MEASURES, *map(_task_measure, task_names(found))):
        column = [known.get(measure.name) for known in found]
        if not any(sample is not None and sample.n for sample in column):
            continue
        cells = [_cell(measure, sample) for sample in column]
        for place, (run, sample) in enumerate(zip(runs, column, strict=True)):
            # How long an evaluation took is no worse than how long a quantize did: it is another job.
            comparable = not measure.of_the_job or run.row.kind == runs[0].row.kind
            if place and comparable and sample is not None and column[0] is not None:
                cells[place] = _against(measure, cells[place], sample, column[0])
        lines.append(
            ComparisonRow(
                name=measure.name,
                label=measure.label,
                unit=measure.unit,
                better=measure.better,
                cells=tuple(cells),
            )
        )
    return lines


def _task_measure(name: str) -> _Measure:
    counts = unit_of(name) == "count"
    better: Better = "" if counts else "lower" if lower_is_better(name) else "higher"
    return _Measure(name, label_of(name), unit_of(name), better)


def _cell(measure: _Measure, sample: Sample | None) -> Cell:
    if sample is None:
        return Cell(text=UNKNOWN)
    text = show(sample.mean, measure.unit)
    if sample.spread is not None:
        # The unit is said once, but bytes may come in two: 1.2 GiB ±300 MiB.
        spread = show(sample.spread, measure.unit)
        text += f" ±{spread if measure.unit == 'bytes' else spread.split()[0]} (n={sample.n})"
    return Cell(text=text, value=sample.mean, spread=sample.spread, n=sample.n)


def _against(measure: _Measure, cell: Cell, sample: Sample, base: Sample) -> Cell:
    """The cell with its change from the baseline and what that means."""
    change = (sample.mean - base.mean) / abs(base.mean) if base.mean else None
    return msgspec.structs.replace(
        cell,
        change=change,
        change_text=show_change(change),
        verdict=verdict(sample, base, measure.better, timing=measure.timing),
    )


def verdict(sample: Sample, base: Sample, better: Better, *, timing: bool = False) -> Verdict:
    """Better or worse than the base; "within noise" where chance alone may explain the difference."""
    difference = sample.mean - base.mean
    if difference == 0:
        return "same"
    if abs(difference) <= margin(sample, base, timing=timing):
        return "within noise"
    if not better:
        return ""
    return "better" if (difference < 0) == (better == "lower") else "worse"
