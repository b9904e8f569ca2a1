"""What the Session screen says of models and answers, as plain phrases and lines."""

from fqconsole.app import formatting
from fqconsole.app.answer import Answer
from fqconsole.app.blind import Side
from fqconsole.app.dialogue import Dialogue
from fqconsole.app.model_session import ModelSession
from fqconsole.app.passage_rows import Passage
from fqconsole.app.turn import Turn
from fqconsole.app.visible_text import one_line, visible
from fqconsole.app.widgets.bars import steps
from fqconsole.app.word_diff import Span
from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import GenerationStarted, SessionReady

METER = 8  # cells of the context meter
NEARLY_FULL = 0.9  # part of the context
VOTE_WORDS = "x X is better · y Y is better · t tie · n neither"
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


def meters(answer: Answer, context: int | None, *, narrow: bool = False, bar: bool = True) -> list[str]:
    """The speeds and sizes of one answer; ~ marks what is seen from outside until it is measured.

    `narrow` leaves out what a pane beside another has no room for: an ordinary end, the run, and once the
    answer is measured what is said of both below. `bar` draws the context meter.
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
    reused = result.reused_tokens if result else 0
    count = answer.count if result is None or result.tokens is None else result.tokens
    words = [
        f"TTFT {ttft}",
        "" if narrow else f"prefill {prefill} tok/s",
        f"decode {rate} tok/s",
        f"{formatting.tokens(count)} tokens",
        context_meter(answer.context_used, context, bar=bar and not narrow),
        f"{formatting.tokens(reused)} tokens kept from before" if reused and not narrow else "",
        f"peak {formatting.memory(result.peak_bytes)}" if result and result.peak_bytes and not narrow else "",
        "" if narrow and end == ENDS["end"] else end,
        "" if narrow else answer.run_id,
    ]
    return [word for word in words if word]


def kept_line(answer: Answer) -> str:
    """`TTFT 38 ms · 148 tok/s · 212 tokens · r0042`: what stays of an answer's meters below it."""
    result = answer.result
    if result is None:
        return ""
    words = [
        f"TTFT {milliseconds(result.ttft_ms)}",
        f"{speed(result.decode_tok_s)} tok/s",
        f"{formatting.tokens(result.tokens)} tokens",
        "" if result.stop_reason == "end" else ENDS.get(result.stop_reason, ""),
        answer.run_id,
    ]
    return " · ".join(word for word in words if word)


def pane_head(turn: Turn | None, side: Side, session: ModelSession) -> str:
    """`A  demo int4 · r0002`; blind `X`, and after the vote also what that was."""
    answer = turn.answers.get(side) if turn else None
    run = f" · {answer.run_id}" if answer is not None and answer.run_id else ""
    name = one_line(session.choice.label)
    if turn is None or turn.blind is None:
        return f"{side.upper()}  {name}{run}"
    letter = turn.blind.letter(side)
    if turn.hidden:
        return letter
    verdict = turn.blind.verdict(side)
    return f"{letter}  {name}{', ' + verdict if verdict else ''}{run}"


def parting(first: Answer | None, second: Answer | None) -> str:
    """How long two answers to one question are the same."""
    if first is None or second is None or first.result is None or second.result is None:
        return ""
    a, b = first.result.token_ids, second.result.token_ids
    if a == b and first.result.text == second.result.text:
        return "both answers are the same"
    if not a or not b:
        return ""  # a server tells no tokens; the words that differ are marked
    same = next(
        (place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    return f"the answers part after {formatting.tokens(same)} tokens"


def context_meter(used: int | None, context: int | None, *, bar: bool) -> str:
    """`ctx ▇▇▁▁▁▁▁▁ 251/1 024`."""
    if used is None or not context:
        return ""
    meter = f"{steps(used / context, METER)} " if bar else ""
    full = " ! nearly full" if used >= NEARLY_FULL * context else ""
    return f"ctx {meter}{formatting.tokens(used)}/{formatting.tokens(context)}{full}"


def passages(
    answer: Answer,
    session: ModelSession | None,
    label: str,
    *,
    markdown: bool = False,
    marks: tuple[Span, ...] = (),
) -> list[Passage]:
    """What stands in a pane for one answer: its text, what went wrong, or what is waited for."""
    found: list[Passage] = []
    if answer.shown or answer.status == "writing":
        found.append(Passage(label, answer.shown, "answer", markdown, marks))
    if answer.status == "failed":
        found.append(Passage("" if answer.text else label, f"✗ {visible(answer.problem)}", "problem"))
    elif answer.status == "cancelled" and not answer.text:
        found.append(Passage(label, "stopped before it began", "quiet"))
    elif not found:
        found.append(Passage(label, waiting_line(answer, session), "quiet"))
    return found


def secret_passages(turn: Turn, side: Side) -> list[Passage]:
    """What stands in a blind pane while the answers are written: nothing that tells which model is fast."""
    if turn.blind is not None and turn.blind.letter(side) == "Y":
        return [Passage("", "", "quiet")]
    written = sum(answer.over for answer in turn.answers.values())
    return [Passage("", f"Answers written: {written} of 2. They appear together.", "quiet")]


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


def title(talk: Dialogue) -> str:
    """`Session · demo int4`, or with two models which letter stands for which."""
    if talk.main is None:
        return "Session"
    first = one_line(talk.main.choice.label)
    if talk.other is None:
        return f"Session · {first}"
    second = one_line(talk.other.choice.label)
    if talk.hidden:
        return "Session · blind: X | Y"
    if talk.blind:
        return f"Session · blind: {first} and {second}"
    return f"Session · A {first} | B {second}"


def subtitle(talk: Dialogue) -> str:
    """How the model was loaded; after an answer where it is kept, or where two answers part."""
    if talk.hidden:
        return VOTE_WORDS if talk.votable else "the names come with the vote"
    done = talk.latest("a")
    if talk.blind and (not talk.turns or talk.turns[-1].blind is None):
        return "the next answers come without names, then you vote"
    if done is None or talk.busy:
        return (
            ""
            if talk.comparing or talk.main is None
            else loaded_words(talk.main.ready, talk.main.choice.gpus or 1)
        )
    if talk.comparing:
        turn = talk.turns[-1]
        return " · ".join(word for word in (parting(*answers_of(turn)), shared_words(turn)) if word)
    return f"kept as {done.run_id} · ^o 5 shows all runs"


def answers_of(turn: Turn) -> tuple[Answer | None, Answer | None]:
    """The answers in the order in which they are shown."""
    first, second = turn.sides
    return turn.answers.get(first), turn.answers.get(second)


def shared_words(turn: Turn) -> str:
    """`63% of the words are the same`."""
    diff = turn.diff
    return f"{formatting.percent(diff.shared)} of the words are the same" if diff and diff.shared < 1 else ""


def settings_words(talk: Dialogue) -> str:
    """How the next answer is sampled, and whether a chat template is used."""
    if talk.main is None:
        return ""
    preset = f"{talk.preset}: " if talk.preset and not talk.sampling.greedy else ""
    return f"{preset}{sampling_words(talk.sampling)} · {template_words(talk.main.ready)}"


def loaded_words(ready: SessionReady | None, gpus: int = 1) -> str:
    """`int4 on cpu · cpu int4 op · weights 4.4 MiB · loaded in 4.8 s`."""
    if ready is None:
        return ""
    where = ready.device if gpus == 1 else f"{gpus} GPUs"
    way = "" if ready.path in (ready.precision, "16-bit") else f"{ready.path} · "
    return (
        f"{ready.precision} on {where} · {way}weights {formatting.memory(ready.weights_bytes)} · "
        f"loaded in {formatting.took(ready.load_seconds)}"
    )


def template_words(ready: SessionReady | None) -> str:
    """Which chat template is used."""
    if ready is None:
        return "template not known yet"
    return "chat template" if ready.has_chat_template else "no chat template"


def rendered_words(started: GenerationStarted, ready: SessionReady | None, *, marks: bool) -> str:
    """What stands over the prompt as the model sees it."""
    sign = "special tokens stand between ⟦ and ⟧" if marks else "no list of special tokens is known"
    return f"{formatting.tokens(started.prompt_tokens)} tokens · {template_words(ready)} · {sign}"


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
