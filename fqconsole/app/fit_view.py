"""What the Fit screen shows of a memory preview, as plain lines: bar, terms, every option, verdict."""

import textwrap
from collections.abc import Sequence
from typing import Any

from fqconsole.app import formatting
from fqconsole.app.planned import Planned, weights_from
from fqconsole.app.verdicts import SIGNS, share
from fqconsole.app.workspace import FitChoice
from fqconsole.models.description import ModelDescription

GLYPHS = "█▓▒░▪+"
FREE = "·"
OTHERS = "/"
BAR_LEGEND = f"{OTHERS} in use  {FREE} free"
WIDTH = 68  # cells of the explanation


def chosen(preview: Any, bits: int, gpus: int) -> Any:
    """The option of this precision on this many devices; None when there is none (the host is one device)."""
    options = [option for option in preview.options if option.bits == bits]
    return next((option for option in options if option.gpus == gpus), options[0] if options else None)


def present(preview: Any, choice: FitChoice, made: Planned | None) -> Any:
    """The option of the present choice: of a goal that of its plan, where there is one."""
    if preview is None:
        return None
    if choice.goal != "rule" and made is not None and made.option is not None:
        return made.option
    return chosen(preview, choice.bits, choice.gpus)


def go_word(about: ModelDescription | None, choice: FitChoice, made: Planned | None) -> str:
    """What Enter does, for the footer; nothing where there are no weights, or no plan can be."""
    if about is not None and about.path is None:
        return ""
    if choice.goal == "rule":
        return "talk" if choice.bits == 16 else "quantize"
    if made is not None and made.state == "unmeasured":
        return "measure"
    if made is not None and made.state == "impossible":
        return ""
    return "quantize" if made is None or made.plan is None or made.quantizes else "talk"


def next_words(about: ModelDescription, choice: FitChoice, option: Any) -> str:
    """What Enter leads to and what that costs."""
    if about.path is None:
        return weights_from(about)
    if choice.bits == 16 and option.verdict == "does not fit":
        return f"⏎ asks first: {formatting.memory(option.total_bytes_per_gpu)} do not fit"
    if choice.bits == 16:
        return f"⏎ loads {formatting.memory(option.total_bytes_per_gpu)} and talks to it"
    return "⏎ shows what quantizing takes; nothing starts yet"


def measuring_now(progress: Any) -> list[str]:
    """How far the measurement of a model is."""
    if progress is None or progress.total <= 0:
        return ["Measuring what each matrix would lose: the worker starts …"]
    part = formatting.percent(progress.done / progress.total)
    left = f", ~{formatting.duration(progress.eta_seconds)} left" if progress.eta_seconds is not None else ""
    return [f"Measuring what each matrix would lose: {part}{left}", progress.note]


def latest_by_bits(pairs: Sequence[Any], model: str) -> dict[int, Any]:
    """What was measured last of this model at each width; `pairs` newest first."""
    found: dict[int, Any] = {}
    for pair in pairs:
        if pair.model == model and "total" in pair.terms:
            found.setdefault(pair.bits or 16, pair)
    return found


def measured_words(pair: Any) -> str:
    """`r0042   7.8 GiB  +1.3 %`: the run, what it took, and how far that is from what was predicted of it."""
    predicted, measured = pair.terms["total"]
    change = formatting.signed_percent(measured / predicted) if predicted else formatting.UNKNOWN
    return f"{pair.run_id} {formatting.memory(measured):>9} {change:>7}"


def columns_shown(counts: Sequence[int], picked: int, room: int) -> list[int]:
    """As many numbers of GPUs as there is room for, the one that is picked always among them."""
    shown = list(counts[: max(1, room)])
    if picked in counts and picked not in shown:
        shown[-1] = picked
    return shown


def on_host(capacity: Any) -> bool:
    return bool(capacity.kind == "host")


def memory_bar(terms: Sequence[Any], capacity: Any, width: int) -> str:
    """One device from left to right: held by others, each term in its glyph, free; nothing vanishes."""
    held = max(0, capacity.total_bytes - capacity.free_bytes)
    parts = [(OTHERS, held), *((glyph(index), term.bytes) for index, term in enumerate(terms))]
    scale = max(capacity.total_bytes, sum(count for _glyph, count in parts)) or 1
    bar = ""
    for sign, count in parts:
        if count > 0:
            bar += sign * max(1, round(count / scale * width))
    return bar[:width].ljust(width, FREE)


def glyph(index: int) -> str:
    return GLYPHS[min(index, len(GLYPHS) - 1)]


def term_lines(terms: Sequence[Any], width: int, room: int) -> list[str]:
    """A line a term; where there is no room for all, the smallest ones share the last one."""
    lines = [term_line(index, term, width) for index, term in enumerate(terms)]
    if len(terms) <= max(2, room):
        return lines
    order = sorted(range(len(terms)), key=lambda index: terms[index].bytes)
    rest = order[: len(terms) - max(2, room) + 1]
    together = sum(terms[index].bytes for index in rest)
    kept = [line for index, line in enumerate(lines) if index not in rest]
    return [*kept, f"+ {f'{len(rest)} more':<17} {formatting.memory(together):>9}  e tells"[:width]]


def term_line(index: int, term: Any, width: int) -> str:
    """`█ int4 matrices    3.3 GiB  headers · 252 matrices …`: as many whole phrases as there is room for, or
    whole words of the first; … tells that e says more.
    """
    words = term.detail.partition("\n")[0]
    origin = f"{term.origin} · {words}" if width >= 60 else term.origin
    line = f"{glyph(index)} {term.name:<17.17} {formatting.memory(term.bytes):>9}  {origin}"
    if len(line) <= width:
        return line
    room = line[: width - 1]  # " …" takes two cells, of which the blank may stand for the one that is cut
    start = line.rindex(term.origin) + len(term.origin)
    cut = room.rfind(", ", start) if ", " in room[start:] else room.rfind(" ")
    kept = room[:cut].rstrip(" ·,")
    return f"{kept} …" if len(kept) > start else kept


def total_line(option: Any, width: int) -> str:
    """`  total               7.7 GiB  10 % of free`, without the last words where they would be cut."""
    total = formatting.memory(option.total_bytes_per_gpu)
    line = f"  {'total':<17} {total:>9}  {percent_of(option)}"
    return f"{line} of free" if len(line) + 8 <= width else line


def percent_of(option: Any) -> str:
    part = share(option) * 100
    return "<1 %" if 0 < part < 1 else f"{part:.0f} %"


def verdict_line(option: Any) -> str:
    """`✓ FITS · 67.3 GiB left`, or what is missing."""
    left = option.capacity_bytes - option.total_bytes_per_gpu
    word = f"{SIGNS[option.verdict]} {option.verdict.upper()}"
    if option.verdict == "does not fit":
        return f"{word} · {formatting.memory(-left)} too much"
    return f"{word} · {formatting.memory(left)} left"


def change_lines(option: Any, width: int) -> list[str]:
    """The smallest change that would make it fit, on as many lines as it needs."""
    words = f"would fit: {option.smallest_change}"
    return textwrap.wrap(words, max(20, width), initial_indent="  ", subsequent_indent="    ")


def option_cell(option: Any) -> str:
    """`✓ 17.3 GiB  22 %` in 16 cells."""
    return (
        f"{SIGNS[option.verdict]} {formatting.memory(option.total_bytes_per_gpu):>8} {percent_of(option):>5}"
    )


def gpu_counts(preview: Any) -> list[int]:
    return sorted({option.gpus for option in preview.options})


def precisions(preview: Any) -> list[int]:
    return sorted({option.bits for option in preview.options}, reverse=True)


def shown_terms(option: Any) -> list[Any]:
    """The terms that are there: a CPU has no CUDA runtime, and a line of zero says nothing."""
    return [term for term in option.terms if term.bytes > 0]


def capacity_title(capacity: Any) -> str:
    """`H100 80GB · free 79.0 of 79.6 GiB`; a simulated device says that it is not here."""
    if capacity.kind == "named gpu":
        return f"{capacity.name} · not here, {formatting.memory(capacity.total_bytes)}"
    free, total = formatting.gib(capacity.free_bytes), formatting.gib(capacity.total_bytes)
    name = "This machine" if on_host(capacity) else capacity.name
    return f"{name} · free {free} of {total} GiB"


def limit_lines(preview: Any, option: Any) -> list[str]:
    """How far this option could be driven, and what making it needs."""
    sign = SIGNS["fits" if preview.quantize_peak < preview.capacity.free_bytes else "does not fit"]
    lines = [f"{'Quantize peak':<17}{formatting.memory(preview.quantize_peak):>9} {sign}"]
    if option.decode_tok_s is not None:
        lines.append(f"{'Decode ≤ tok/s':<17}{option.decode_tok_s:>9,.0f}")
    accuracy = preview.capacity.accuracy
    if accuracy is not None:
        lines.append(f"{f'Error, {accuracy.runs} runs':<17}{f'± {accuracy.most * 100:.1f} %':>9}")
    return lines


def explanation(option: Any, capacity: Any) -> list[str]:
    """Every term with its origin and inputs, for the dialog behind `e`."""
    lines = []
    for term in option.terms:
        lines.append(f"{term.name:<22} {formatting.memory(term.bytes):>10}   {term.origin}")
        for line in str(term.detail).splitlines():
            lines.extend(textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    "))
    lines.append(f"{'total':<22} {formatting.memory(option.total_bytes_per_gpu):>10}")
    lines.append(f"{'free on ' + capacity.name:<22.40} {formatting.memory(option.capacity_bytes):>10}")
    return lines
