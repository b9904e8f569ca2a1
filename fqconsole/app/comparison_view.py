"""Two answers to one prompt in numbers: speed, memory, bits, and how many times one is better."""

from fqconsole.app import formatting
from fqconsole.app.answer import Answer
from fqconsole.app.model_session import ModelSession
from fqconsole.app.session_view import milliseconds, speed

SIXTEEN = 16.0
ALIKE = 0.02  # two speeds closer than this part are not called different


def speed_phrases(first: Answer, second: Answer) -> list[str]:
    """`290 against 159 tok/s: 1.8 times as fast`, then the other speeds; empty until both are measured."""
    mine, its = first.result, second.result
    if mine is None or its is None:
        return []
    phrases = []
    if mine.decode_tok_s and its.decode_tok_s:
        times = times_words(mine.decode_tok_s, its.decode_tok_s, "as fast", "slower")
        phrases.append(f"{speed(mine.decode_tok_s)} against {speed(its.decode_tok_s)} tok/s: {times}")
    phrases.append(f"TTFT {together(milliseconds(mine.ttft_ms), milliseconds(its.ttft_ms))}")
    if mine.prefill_tok_s and its.prefill_tok_s:
        phrases.append(f"prefill {speed(mine.prefill_tok_s)} against {speed(its.prefill_tok_s)} tok/s")
    return phrases


def size_phrases(first: ModelSession, second: ModelSession, answers: tuple[Answer, Answer]) -> list[str]:
    """`4.4 against 13.0 MiB: 3.0 times smaller`, bits per weight, peak memory."""
    phrases = []
    mine, its = first.weights_bytes, second.weights_bytes
    if mine and its:
        times = times_words(its, mine, "smaller", "larger")
        phrases.append(f"{together(formatting.memory(mine), formatting.memory(its))}: {times}")
    bits = (first.bits_per_weight, second.bits_per_weight)
    if bits[0] and bits[1]:
        phrases.append(f"{bits[0]:.3g} against {bits[1]:.3g} bits/weight")
    peaks = [answer.result.peak_bytes for answer in answers if answer.result and answer.result.peak_bytes]
    if len(peaks) == 2:
        phrases.append(f"peak {together(*map(formatting.memory, peaks))}")
    return phrases


def together(first: str, second: str) -> str:
    """`4.4 against 13.0 MiB`; each with its unit where they differ."""
    number, _, unit = first.partition(" ")
    return f"{number if second.endswith(f' {unit}') else first} against {second}"


def times_words(mine: float, its: float, more: str, less: str) -> str:
    """`1.8 times as fast`, `1.5 times slower`, or that there is no difference."""
    ratio = mine / its
    if abs(ratio - 1) < ALIKE:
        return "no difference"
    return f"{ratio:.1f} times {more}" if ratio > 1 else f"{1 / ratio:.1f} times {less}"
