"""One run in words, and several side by side: what the panel below the list says."""

import time
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from textual.content import Content

from fqconsole.app import formatting
from fqconsole.app.fit_choices import unusual_of
from fqconsole.app.run_rows import short_model
from fqconsole.app.session_view import ENDS, milliseconds, speed
from fqconsole.app.visible_text import one_line, visible
from fqconsole.app.wrapping import cut, flowed

if TYPE_CHECKING:
    from store import Cell, Comparison, Run

VERDICT_STYLES = {"better": "$text-success", "worse": "$text-error", "within noise": "$foreground 60%"}
LONGEST_LABEL = 24
LONGEST_CELL = 28
LONGEST_TEXT = 400  # characters of a prompt or an answer; `o` shows all of it


Phrases = tuple[str, ...]  # set side by side as the width allows


def details(run: "Run", width: int) -> list[str]:
    """The lines on one run, phrases kept whole where they fit; what is not known is left out."""
    row = run.row
    took = f"took {formatting.took(row.seconds)}" if row.seconds is not None else ""
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.started))
    device = str(run.host.get("device_name") or row.device or "")
    lines: list[Phrases] = [(row.status, started, took, one_line(device))]
    if run.error:
        lines.append((f"✗ {visible(str(run.error.get('what', '')))}",))
        lines.append((visible(str(run.error.get("next_step", ""))),))
    elif row.status == "interrupted":
        lines.append(("! The console that ran it ended before it did. ⏎ goes on from here.",))
    lines += [_made(run)] if row.kind == "quantize" else _said(run)
    lines.append(_quality(run))
    lines.append((f"peak {formatting.memory(row.peak_bytes)}" if row.peak_bytes else "", _promised(run)))
    lines.append((one_line(row.path or ""),))
    lines.append(tuple(f"voted {vote.words}" for vote in run.votes))
    lines.append((one_line(row.note), " ".join(f"#{one_line(tag)}" for tag in row.tags)))
    return [line for phrases in lines for line in flowed(phrases, width)]


def _made(run: "Run") -> Phrases:
    row = run.row
    source = run.metric("source_bytes")
    sizes = f"{formatting.memory(source)} → {formatting.memory(row.bytes)}" if source and row.bytes else ""
    width = f"{row.bits_per_weight:.2f} bits/weight" if row.bits_per_weight is not None else ""
    precision = formatting.precision(row.bits) if row.bits else ""
    group = f"groups of {row.group}" if row.group and row.group != "channel" else (row.group or "")
    counts = f"{len(run.matrices)} matrices" if run.matrices else ""
    return (precision, row.granularity or "", group, *unusual_of(run.options), width, sizes, counts)


def _said(run: "Run") -> list[Phrases]:
    said = run.generation
    if said is None:
        return []
    speeds = (
        f"TTFT {milliseconds(said.ttft_ms)}" if said.ttft_ms is not None else "",
        f"prefill {speed(said.prefill_tok_s)} tok/s" if said.prefill_tok_s is not None else "",
        f"decode {speed(said.decode_tok_s)} tok/s" if said.decode_tok_s is not None else "",
        f"{said.tokens_out} tokens" if said.tokens_out is not None else "",
        ENDS.get(said.stop_reason or "", ""),
        f"seed {said.seed}" if said.seed is not None else "",
    )
    lines: list[Phrases] = [speeds, (f"you     {one_line((said.prompt or '')[:LONGEST_TEXT])}",)]
    if said.output:
        lines.append((f"answer  {one_line(said.output.strip()[:LONGEST_TEXT])}",))
    return lines


def _quality(run: "Run") -> Phrases:
    row = run.row
    reference, top1, tokens = (
        run.metric(name) for name in ("reference_perplexity", "top1_agreement", "tokens")
    )
    if row.perplexity is None:
        return ()
    before = f"{reference:.3f} → " if reference is not None else ""
    change = f" ({formatting.signed_percent(row.perplexity / reference)})" if reference else ""
    return (
        f"perplexity {before}{row.perplexity:.3f}{change}",
        f"KL {row.kl_divergence:.4f}" if row.kl_divergence is not None else "",
        f"same top token {top1 * 100:.1f} %" if top1 is not None else "",
        f"{formatting.tokens(int(tokens))} tokens" if tokens is not None else "",
    )


def _promised(run: "Run") -> str:
    row = run.row
    if not row.predicted_bytes:
        return ""
    change = f", {formatting.signed_percent(row.peak_bytes / row.predicted_bytes)}" if row.peak_bytes else ""
    return f"planned {formatting.memory(row.predicted_bytes)}{change}"


def details_title(run: "Run") -> str:
    """`r0042 · quantize · Qwen3-8B int4`."""
    row = run.row
    precision = f" {formatting.precision(row.bits)}" if row.bits else ""
    return f"{row.run_id} · {row.kind} · {one_line(short_model(row.model))}{precision}"


def comparison_title(comparison: "Comparison", *, everything: bool) -> str:
    """`r0042 against baseline r0038 · only what differs`."""
    others = ", ".join(run_id for run_id in comparison.run_ids if run_id != comparison.baseline)
    what = "all lines" if everything else "only what differs"
    return f"{others or comparison.baseline} against {comparison.baseline} · {what}"


def comparison_lines(comparison: "Comparison") -> Content:
    """A line for each setting and number: the baseline first, then each run with its change in words."""
    if not comparison.rows:
        return Content("Nothing that was measured or set differs. d shows all lines.")
    heads = [f"{run} baseline" if run == comparison.baseline else run for run in comparison.run_ids]
    labels = [cut(row.label, LONGEST_LABEL) for row in comparison.rows]
    columns = [
        _Column(head, [row.cells[place] for row in comparison.rows]) for place, head in enumerate(heads)
    ]
    width = max(cell_len(label) for label in labels) + 2
    head = " " * width + "".join(column.head for column in columns)
    lines = [Content.styled(head.rstrip(), "$foreground 60%")]
    for number, label in enumerate(labels):
        parts: list[Any] = [(padded(label, width), "$foreground 70%")]
        for column in columns:
            parts += column.parts(number)
        lines.append(Content.assemble(*parts))
    return Content("\n").join(lines)


class _Column:
    """One run in a comparison: its values, their changes and the words for them, each as wide as it needs."""

    def __init__(self, title: str, cells: "list[Cell]") -> None:
        self._texts = [cut(one_line(cell.text), LONGEST_CELL) for cell in cells]
        self._cells = cells
        self._text = max(map(cell_len, [title, *self._texts])) + 2
        self._change = max(len(cell.change_text) for cell in cells)
        self._verdict = max(len(cell.verdict) for cell in cells)
        self.head = padded(title, self._width)

    @property
    def _width(self) -> int:
        change = self._change + 2 if self._change else 0
        return self._text + change + (self._verdict + 2 if self._verdict else 0)

    def parts(self, number: int) -> list[Any]:
        """The text of one line with its styles, as wide as the column."""
        cell = self._cells[number]
        style = VERDICT_STYLES.get(cell.verdict, "$foreground 60%")
        parts: list[Any] = [padded(self._texts[number], self._text)]
        if self._change:
            parts.append((f"{cell.change_text:>{self._change}}  ", style))
        if self._verdict:
            parts.append((padded(cell.verdict, self._verdict + 2), style))
        return parts


def padded(text: str, width: int) -> str:
    """`text` and blanks up to `width` cells."""
    return text + " " * max(0, width - cell_len(text))
