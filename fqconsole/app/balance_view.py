"""What quantizing lost and won against the 16-bit original, in two short lines of phrases."""

from fqconsole.app import comparison_view, formatting
from fqconsole.app.dialogue import Dialogue
from fqconsole.app.measurement import Measurement
from fqconsole.app.origin import Origin, Quality
from fqconsole.app.session_view import speed
from fqconsole.app.visible_text import one_line
from fqconsole.app.widgets.bars import filled

PHASES = {
    "load": "loading",
    "evaluate reference": "the 16-bit model reads",
    "evaluate": "the quantized model reads",
}
NOISE = 0.005  # a perplexity lower by less than this part is luck of the text, no gain


def lost_phrases(quality: Quality) -> tuple[list[str], list[str]]:
    """(lost, won): perplexity stands where it belongs, the distances are a loss always."""
    ratio = quality.perplexity / quality.reference_perplexity
    perplexity = (
        f"perplexity {quality.reference_perplexity:.3f} → {quality.perplexity:.3f} "
        f"({formatting.signed_percent(ratio)})"
    )
    distances = [f"KL {quality.kl_divergence:.4f}", f"same top token {quality.top1_agreement * 100:.1f} %"]
    if ratio < 1 - NOISE:
        return distances, [perplexity]
    return [perplexity, *distances], []


def size_phrase(origin: Origin) -> str:
    """`13.0 MiB → 4.2 MiB, 3.1 times smaller`."""
    if not origin.bytes or not origin.source_bytes:
        return ""
    smaller = origin.source_bytes / origin.bytes
    return (
        f"{formatting.memory(origin.source_bytes)} → {formatting.memory(origin.bytes)}, "
        f"{smaller:.1f} times smaller"
    )


def speed_phrase(reference: float | None, quantized: float | None) -> tuple[str, bool | None]:
    """`98 → 172 tok/s (+76 %)` and whether that is a gain; None where one of the two is not known."""
    if reference is None and quantized is None:
        return "", None
    if reference is None:
        return f"{speed(quantized)} tok/s (F2 shows 16-bit)", None
    if quantized is None:
        return f"16-bit {speed(reference)} tok/s", None
    change = formatting.signed_percent(quantized / reference)
    return f"{speed(reference)} → {speed(quantized)} tok/s ({change})", quantized >= reference


def balance(
    measurement: Measurement,
    quantized_tok_s: float | None,
    reference_tok_s: float | None,
    *,
    told: bool = False,
) -> tuple[list[str], list[str]]:
    """The phrases after "lost" and "won"; `told`: size and speed are said of both models already."""
    lost, won = quality_phrases(measurement)
    if told:
        return lost, won
    size = size_phrase(measurement.origin)
    if size:
        won.insert(0, size)
    words, gain = speed_phrase(reference_tok_s or measurement.origin.reference_tok_s, quantized_tok_s)
    (lost if gain is False else won).append(words)
    return [phrase for phrase in lost if phrase], [phrase for phrase in won if phrase]


def beside(talk: Dialogue) -> tuple[list[str], list[str]]:
    """Speed and size of two models side by side; empty until both have answered."""
    turn = talk.turns[-1] if talk.turns else None
    first, second = talk.main, talk.other
    if turn is None or not turn.whole or first is None or second is None:
        return [], []
    answers = (turn.answers["a"], turn.answers["b"])
    return comparison_view.speed_phrases(*answers), comparison_view.size_phrases(first, second, answers)


def title(talk: Dialogue, *, beside: bool) -> str:
    """Which models are compared, in the order of the numbers."""
    if not beside or talk.main is None or talk.other is None:
        return "Lost and won against 16-bit"
    return f"{one_line(talk.main.choice.label)} against {one_line(talk.other.choice.label)}"


def quality_phrases(measurement: Measurement) -> tuple[list[str], list[str]]:
    """What is known of the quality, how far its measurement is, or how to get it."""
    phase, part = measurement.progress
    words = PHASES.get(phase, phase) or "starting the worker"
    match measurement.state:
        case "running":
            bar = f" {filled(part, 10)} {formatting.percent(part)}" if part is not None else ""
            return [f"measuring: {words}{bar} …"], []
        case "held":
            return [f"measuring {formatting.percent(part)}, held while an answer is written"], []
        case "failed":
            return [f"✗ not measured: {measurement.problem} F10 tries again."], []
        case "done" if measurement.quality is not None:
            return lost_phrases(measurement.quality)
        case "cancelled":
            return ["the measurement was stopped; F10 measures perplexity and KL"], []
        case "none" if measurement.by_itself:
            return ["measured by itself after the answer"], []
        case _:
            return ["F10 measures it: perplexity, KL divergence, same top token"], []


def source_words(measurement: Measurement) -> str:
    """Which run says so, or how to stop it."""
    if measurement.active:
        return "esc stops it" if measurement.state == "running" else ""
    quality = measurement.quality
    return f"{quality.run_id} · {formatting.tokens(quality.tokens)} tokens" if quality else ""
