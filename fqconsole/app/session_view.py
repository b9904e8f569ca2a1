"""What the Session screen says of models and answers, as plain phrases and lines."""

from fqconsole.app import formatting
from fqconsole.app.answer import Answer
from fqconsole.app.dialogue import Dialogue
from fqconsole.app.model_session import ModelSession
from fqconsole.app.visible_text import one_line, visible
from fqconsole.app.widgets.bars import steps
from fqconsole.app.widgets.transcript import Passage
from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import SessionReady

METER = 8  # cells of the context meter
ENDS = {
    "end": "ended by itself",
    "length": "cut at max tokens",
    "stop_string": "ended at a stop text",
    "stopped": "stopped by you",
    "context": "context is full",
}


def speed(value: float | None) -> str:
    """Tokens per second: `148`, `9.4`, `4 120`."""
    if value is None:
        return formatting.UNKNOWN
    return formatting.tokens(round(value)) if value >= 99.5 else f"{value:.1f}"


def milliseconds(value: float | None) -> str:
    """`8.1 ms`, `38 ms`, `1.24 s`."""
    if value is None:
        return formatting.UNKNOWN
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def meters(answer: Answer, context: int | None, *, narrow: bool = False) -> list[str]:
    """The speeds and sizes of one answer; ~ marks what is seen from outside until it is measured.

    `narrow` leaves out what a pane beside another has no room for: the bar, an ordinary end, the run.
    """
    result = answer.result
    if answer.started is None:
        return []
    end = ENDS.get(result.stop_reason, result.stop_reason) if result else ""
    if result is not None:
        ttft, rate = milliseconds(result.ttft_ms), speed(result.decode_tok_s)
    else:
        waited = answer.waited_ms
        ttft = f"~{milliseconds(waited)}" if waited is not None else formatting.UNKNOWN
        rate = speed(answer.tok_s)
    prefill = speed(result.prefill_tok_s) if result else formatting.UNKNOWN
    count = len(result.token_ids) if result else answer.count
    return [
        f"TTFT {ttft}",
        f"prefill {prefill} tok/s",
        f"decode {rate} tok/s",
        f"{formatting.tokens(count)} tokens",
        context_meter(answer.context_used, context, bar=not narrow),
        f"peak {formatting.memory(result.peak_bytes)}" if result else "",
        "" if narrow and end == ENDS["end"] else end,
        "" if narrow else answer.run_id,
    ]


def pane_head(letter: str, session: ModelSession, answer: Answer | None) -> str:
    """`A  demo int4 · r0002`."""
    run = f" · {answer.run_id}" if answer is not None and answer.run_id else ""
    return f"{letter}  {one_line(session.choice.label)}{run}"


def parting(first: Answer | None, second: Answer | None) -> str:
    """How long two answers to one question are the same."""
    if first is None or second is None or first.result is None or second.result is None:
        return ""
    a, b = first.result.token_ids, second.result.token_ids
    if a == b:
        return "both answers are the same"
    same = next(
        (place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    return f"the answers part after {formatting.tokens(same)} tokens"


def context_meter(used: int | None, context: int | None, *, bar: bool) -> str:
    """`ctx ▇▇▁▁▁▁▁▁ 251/1 024`."""
    if used is None or not context:
        return ""
    meter = f"{steps(used / context, METER)} " if bar else ""
    return f"ctx {meter}{formatting.tokens(used)}/{formatting.tokens(context)}"


def passages(answer: Answer, session: ModelSession | None, label: str) -> list[Passage]:
    """What stands in a pane for one answer: its text, what went wrong, or what is waited for."""
    found: list[Passage] = []
    if answer.text or answer.status == "writing":
        found.append(Passage(label, visible(answer.text).lstrip(), "answer"))
    if answer.status == "failed":
        found.append(Passage("" if answer.text else label, f"✗ {visible(answer.problem)}", "problem"))
    elif answer.status == "cancelled" and not answer.text:
        found.append(Passage(label, "stopped before it began", "quiet"))
    elif not found:
        found.append(Passage(label, waiting_line(answer, session), "quiet"))
    return found


def state_passages(session: ModelSession) -> list[Passage]:
    """What stands in a pane before anything was asked."""
    match session.state:
        case "loading":
            return [Passage("", session.loading_line, "quiet")]
        case "ready":
            return [Passage("", "Ready. Write a prompt below; ⏎ sends it.", "quiet")]
        case "failed":
            problem = f"✗ {visible(session.problem)}"
            return [Passage("", problem, "problem"), Passage("", "⏎ tries again.", "quiet")]
        case _:
            return [Passage("", "Not loaded. ⏎ loads it and sends the prompt.", "quiet")]


def lost_since(session: ModelSession, last: Answer, *, comparing: bool) -> bool:
    """The model went away after its last answer: by itself, or unloaded by the operator."""
    if not last.over:
        return False
    if session.state == "failed":
        return last.problem != session.problem
    return session.state == "closed" and not comparing


def waiting_line(answer: Answer, session: ModelSession | None) -> str:
    """Why there is no text yet."""
    if answer.status == "reading":
        return "reading the prompt …"
    if session is not None and session.state == "loading":
        return session.loading_line
    if answer.status == "waiting" and session is not None and session.state == "ready":
        return "waits until the answer beside it is written, so that both speeds are honest"
    return "…"


def title(main: ModelSession | None, other: ModelSession | None) -> str:
    """`Session · demo int4`, or with two models which letter stands for which."""
    if main is None:
        return "Session"
    first = one_line(main.choice.label)
    if other is None:
        return f"Session · {first}"
    return f"Session · A {first} | B {one_line(other.choice.label)}"


def subtitle(talk: Dialogue) -> str:
    """How the model was loaded; after an answer where it is kept, or where two answers part."""
    done = talk.latest("a")
    if done is None or talk.busy:
        return "" if talk.comparing or talk.main is None else loaded_words(talk.main.ready)
    if talk.comparing:
        return parting(done, talk.latest("b"))
    return f"kept as {done.run_id} · ^o 5 shows all runs"


def settings_words(talk: Dialogue) -> str:
    """How the next answer is sampled, and whether a chat template is used."""
    if talk.main is None:
        return ""
    return f"{sampling_words(talk.sampling)} · {template_words(talk.main.ready)}"


def loaded_words(ready: SessionReady | None) -> str:
    """`int4 on cpu · cpu int4 op · weights 4.4 MiB · loaded in 4.8 s`."""
    if ready is None:
        return ""
    way = "" if ready.path in (ready.precision, "16-bit") else f"{ready.path} · "
    return (
        f"{ready.precision} on {ready.device} · {way}weights {formatting.memory(ready.weights_bytes)} · "
        f"loaded in {formatting.took(ready.load_seconds)}"
    )


def template_words(ready: SessionReady | None) -> str:
    """Which chat template is used."""
    if ready is None:
        return "template not known yet"
    return "chat template: the model's" if ready.has_chat_template else "no chat template"


def sampling_words(sampling: Sampling) -> str:
    """`temp 0.7 · top-p 0.95 · max 256 · seed drawn`; what is off is not said."""
    words = ["greedy"] if sampling.greedy else [f"temp {sampling.temperature:g}"]
    if not sampling.greedy:
        words += [f"top-p {sampling.top_p:g}"] if sampling.top_p < 1 else []
        words += [f"top-k {sampling.top_k}"] if sampling.top_k else []
        words += [f"min-p {sampling.min_p:g}"] if sampling.min_p else []
    if sampling.repetition_penalty != 1:
        words.append(f"rep {sampling.repetition_penalty:g}")
    words.append(f"max {sampling.max_new_tokens}")
    if not sampling.greedy:
        words.append("seed drawn" if sampling.seed is None else f"seed {sampling.seed}")
    return " · ".join(words)
