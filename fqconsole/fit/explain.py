"""One option in lines of text: every term with its origin and formula, the total, the room, the answers."""

from fqconsole.fit.preview import FitPreview, Option
from fqconsole.fit.sizes import size
from fqconsole.fit.term import Term

WIDTH = 18


def explain(preview: FitPreview, option: Option) -> list[str]:
    """The lines of `fit --explain` for one option of a preview."""
    lines = [f"{preview.model}: {heading(preview, option)}"]
    for term in option.terms:
        lines.extend(_term_lines(term))
    each = "" if option.gpus == 1 else " (the fullest GPU)"
    lines.append(f"  {'total':<{WIDTH}} {size(option.total_bytes_per_gpu):>10}  {each}".rstrip())
    margin = int(option.capacity_bytes * preview.margin)
    lines.append(
        f"  {'free':<{WIDTH}} {size(option.capacity_bytes):>10}   {preview.capacity.name}"
        + (f", {preview.capacity.source}" if preview.capacity.source else "")
    )
    lines.append(f"  {'margin':<{WIDTH}} {size(margin):>10}   {preview.margin:.0%} of what is free")
    if preview.capacity.accuracy is not None:
        known = preview.capacity.accuracy
        lines.append(
            f"  {'error here':<{WIDTH}} {f'± {known.most:.1%}':>10}   {known.runs} runs on this device"
        )
    lines.append(f"  verdict: {verdict_sentence(option)}")
    whole, layers = size(option.model_bytes), size(option.layers_bytes)
    lines.append(f"  weights of the whole model: {whole}, of its layers alone: {layers}")
    lines.append(f"  largest context at batch {preview.batch}: {option.largest_context:,} tokens")
    lines.append(f"  largest batch at context {preview.context:,}: {option.largest_batch:,}")
    lines.append(f"  decode at most: {ceiling_sentence(preview, option)}")
    terms = " + ".join(f"{term.name} {size(term.bytes)}" for term in preview.quantize_terms)
    lines.append(f"  quantize job's own peak: {size(preview.quantize_peak)} = {terms}")
    return lines


def heading(preview: FitPreview, option: Option) -> str:
    """`int4 on 2 GPUs (tensor parallel), context 8,192, batch 1`."""
    place = "this machine's memory" if preview.capacity.kind == "host" else f"{option.gpus} GPU"
    if option.gpus > 1:
        place += f"s ({option.split})"
    label = option.terms[0].name.split()[0] if option.terms else f"int{option.bits}"
    return f"{label} on {place}, context {preview.context:,}, batch {preview.batch}"


def split_sentence(preview: FitPreview) -> str:
    """`Split: tensor parallel on 2 and 4 GPUs, layers on 8 GPUs`; empty for one GPU."""
    found: dict[str, dict[int, list[int]]] = {}  # how, on how many, at which bits
    for option in preview.options:
        if option.gpus > 1:
            found.setdefault(option.split, {}).setdefault(option.gpus, []).append(option.bits)
    every = len({option.bits for option in preview.options})
    words = []
    for split, by_count in found.items():
        counts = [
            str(gpus) if len(bits) == every else f"{gpus} ({', '.join(f'{n} bits' for n in bits)})"
            for gpus, bits in by_count.items()
        ]
        listed = " and ".join(part for part in (", ".join(counts[:-1]), counts[-1]) if part)
        words.append(f"{split} on {listed} GPUs")
    return f"Split: {', '.join(words)}" if words else ""


def verdict_sentence(option: Option) -> str:
    """`fits, 67.3 GiB left`, or what is missing and the smallest change that would make it fit."""
    if option.verdict == "fits":
        return f"fits, {size(option.left_bytes)} left"
    if option.verdict == "tight":
        return f"tight, {size(option.left_bytes)} left, less than the margin; {option.smallest_change}"
    return f"does not fit, {size(-option.left_bytes)} too much; it would with {option.smallest_change}"


def ceiling_sentence(preview: FitPreview, option: Option) -> str:
    """`232 tok/s: 14.4 GB a step, weights and a full cache, over 3,350 GB/s (vendor's nominal)`."""
    read = f"{option.step_bytes / 1e9:,.2f} GB a step, weights and a full cache"
    if option.decode_tok_s is None:
        return f"{read}; the bandwidth of {preview.capacity.name} is not known here"
    speeds = dict.fromkeys(preview.capacity.bandwidths(option.gpus))
    over = " and ".join(f"{speed / 1e9:,.0f} GB/s" for speed in speeds)
    if option.split == "tensor parallel":
        over += f" on each of {option.gpus} GPUs at once"
    return f"{option.decode_tok_s:,.0f} tok/s: {read}, over {over} ({preview.capacity.bandwidth_source})"


def _term_lines(term: Term) -> list[str]:
    first, *rest = term.detail.splitlines() or [""]
    lines = [f"  {term.name:<{WIDTH}} {size(term.bytes):>10}   {term.origin}: {first}".rstrip(": ")]
    lines.extend(f"  {'':<{WIDTH}} {'':>10}   {line}" for line in rest)
    return lines
