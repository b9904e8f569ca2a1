"""One run as text."""

from collections.abc import Sequence

from fqconsole.cli.quantities import UNKNOWN, duration, group, number, precision, size, speed
from fqconsole.cli.table import table
from store import MatrixRow, Run

WORST = 10  # matrices shown, by error


def run_page(run: Run) -> str:
    """Everything of one run, its worst matrices only."""
    from datetime import datetime

    row = run.row
    started = datetime.fromtimestamp(row.started).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    facts = [
        ("kind", f"{row.kind}, {row.status}" + (", baseline" if row.baseline else "")),
        ("model", row.model + (f", revision {row.revision}" if row.revision else "")),
        ("started", f"{started}, took {duration(row.seconds)}"),
        ("precision", f"{precision(row.bits)}, group {row.group or UNKNOWN}" if row.bits else ""),
        ("checkpoint", row.path or ""),
        ("device", str(run.host.get("device_name") or row.device or "")),
        ("made from", row.parent or ""),
        ("voted", ", ".join(vote.words for vote in run.votes)),
        ("note", row.note),
        ("tags", " ".join(row.tags)),
        ("options", ", ".join(f"{name}={value}" for name, value in run.options.items() if value is not None)),
    ]
    if run.error:
        facts.append(("error", f"{run.error.get('what', '')} {run.error.get('next_step', '')}".strip()))
    parts = ["\n".join([row.run_id, *(f"  {name:11} {fact}" for name, fact in facts if fact)])]
    whole = [metric for metric in run.metrics if metric.step is None]
    if whole:
        parts.append(table(["number", "value"], [[m.name, number(m.value, 6)] for m in whole], right="value"))
    if run.generation:
        answer = run.generation
        parts.append(f"prompt\n{answer.prompt or UNKNOWN}\n\nanswer\n{answer.output or UNKNOWN}")
        parts.append(
            f"TTFT {number(answer.ttft_ms)} ms, prefill {speed(answer.prefill_tok_s)} tok/s, decode "
            f"{speed(answer.decode_tok_s)} tok/s, {answer.tokens_out} tokens, ended by {answer.stop_reason}"
        )
    if run.memory:
        parts.append(
            table(
                ["memory", "where", "predicted", "measured"],
                [
                    [m.term, "host" if m.gpu is None else f"GPU {m.gpu}", size(m.predicted), size(m.measured)]
                    for m in run.memory
                ],
                right="predicted measured",
            )
        )
    if run.matrices:
        parts.append(_matrices(run.matrices))
    return "\n\n".join(parts)


def _matrices(matrices: Sequence[MatrixRow]) -> str:
    worst = sorted(matrices, key=lambda matrix: -matrix.relative_error)[:WORST]
    shown = table(
        ["matrix", "bits", "group", "error", "size", "reason"],
        [
            [m.name, str(m.bits), group(m.group_size), f"{m.relative_error:.4f}", size(m.bytes), m.reason]
            for m in worst
        ],
        right="bits group error size",
    )
    left_out = len(matrices) - len(worst)
    return shown + (f"\n{left_out} more with smaller errors: --json lists all" if left_out else "")
