"""What the run database knows of a model: the best that was measured of it at each width."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fqconsole.app import formatting

MOST_RUNS = 300


@dataclass(frozen=True)
class WidthRecord:
    """Runs of one width. The numbers are the best of them; None where nothing was measured."""

    bits: int
    runs: int
    perplexity: float | None
    decode_tok_s: float | None
    bits_per_weight: float | None
    run_id: str  # of the run with the best perplexity, else speed, else the latest

    @property
    def line(self) -> str:
        """`int4    4.31 bits/weight · ppl 9.81 · 148 tok/s · r0042 · 3 runs`."""
        parts = []
        if self.bits_per_weight is not None and self.bits != 16:
            parts.append(f"{self.bits_per_weight:.2f} bits/weight")
        if self.perplexity is not None:
            parts.append(f"ppl {self.perplexity:.2f}")
        if self.decode_tok_s is not None:
            parts.append(f"{self.decode_tok_s:.0f} tok/s")
        if not parts:
            parts.append("not measured")
        parts += [self.run_id, f"{self.runs} run{'' if self.runs == 1 else 's'}"]
        return f"{formatting.precision(self.bits):<7}{' · '.join(parts)}"


def rows_of(store: Any, model: str, path: str | None = None) -> list[Any]:
    """The latest finished runs of a model, newest first; with `path` only those on that checkpoint."""
    if '"' in model or not model.isprintable():  # a filter can't say such a name
        return []
    found = store.list_runs(f'status:done model:"{model}"', limit=MOST_RUNS)
    return [row for row in found if row.model == model and (path is None or row.path == path)]


def records(rows: Sequence[Any]) -> list[WidthRecord]:
    """One record a width, widest first."""
    widths: dict[int, list[Any]] = {}
    for row in rows:
        if row.kind in ("quantize", "generate", "evaluate") and row.bits is not None:
            widths.setdefault(row.bits, []).append(row)
    sizes = {row.run_id: row.bits_per_weight for row in rows}
    return [_record(bits, widths[bits], sizes) for bits in sorted(widths, reverse=True)]


def _record(bits: int, rows: Sequence[Any], sizes: Mapping[str, float | None]) -> WidthRecord:
    judged = [row for row in rows if row.perplexity is not None]
    timed = [row for row in rows if row.decode_tok_s is not None]
    best = min(judged, key=lambda row: row.perplexity, default=None)
    fastest = max(timed, key=lambda row: row.decode_tok_s, default=None)
    told = best or fastest or rows[0]
    return WidthRecord(
        bits=bits,
        runs=len(rows),
        perplexity=None if best is None else best.perplexity,
        decode_tok_s=None if fastest is None else fastest.decode_tok_s,
        # An answer or an evaluation is as large as the checkpoint that its parent made.
        bits_per_weight=told.bits_per_weight or sizes.get(told.parent or ""),
        run_id=told.run_id,
    )


def history_lines(found: Sequence[WidthRecord] | None, most: int) -> list[str]:
    """What stands under a model, at most `most` lines; None: not read yet."""
    if found is None or most < 1:
        return []
    if not found:
        return ["measured here: nothing yet"]
    measured = [held for held in found if held.perplexity is not None or held.decode_tok_s is not None]
    shown = (measured or list(found))[:most]
    return [f"{'measured' if not index else '':<10}{held.line}" for index, held in enumerate(shown)]
