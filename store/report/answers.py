"""Answers to one prompt beside each other; words that the first answer does not have are marked."""

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from store.report.escaping import escape
from store.rows import Run
from store.wording import UNKNOWN, show, show_precision

MOST_WORDS = 3000  # of an answer that are compared; the time grows with their product
_WORDS = re.compile(r"\w+|[^\w\s]|\s+")


def answers_section(runs: Sequence[Run], of_checkpoints: dict[str, Run]) -> str:
    """Every prompt with its answers. `of_checkpoints`: the latest answer of a run that made a checkpoint."""
    asked: dict[str, list[tuple[Run, str]]] = {}
    told: set[str] = (
        set()
    )  # an answer on a checkpoint may come twice: by itself, and for the run that made it
    for run in runs:
        said = of_checkpoints.get(run.row.run_id, run)
        if said.row.run_id in told:
            continue
        told.add(said.row.run_id)
        if said.generation is not None and said.generation.output is not None:
            asked.setdefault(said.generation.prompt or "", []).append((said, said.generation.output))
    if not asked:
        return ""
    parts = ["<h2>What the models answered</h2>"]
    for prompt, answers in asked.items():
        parts.append(f"<h3>Prompt</h3><pre>{escape(prompt)}</pre>")
        first = answers[0][1]
        cards = [_card(run, text, None if place == 0 else first) for place, (run, text) in enumerate(answers)]
        parts.append(f'<div class="grid">{"".join(cards)}</div>')
    return "\n".join(parts)


def _card(run: Run, text: str, first: str | None) -> str:
    row, said = run.row, run.generation
    marked, shared = (escape(text), None) if first is None else _marked(text, first)
    facts = [f"{show(row.decode_tok_s, 'tok/s')} tok/s", f"TTFT {show(row.ttft_ms, 'ms')}"]
    if said is not None:
        facts.append(f"{said.tokens_out if said.tokens_out is not None else UNKNOWN} tokens")
        facts += _sampling(said.sampling)
        facts += _votes(run)
    if shared is not None:
        facts.append(
            "word for word the same" if shared == 1 else f"{int(shared * 100)} % of the words the same"
        )
    head = f"{row.run_id} · {row.model} · {show_precision(row.bits, row.group)}"
    return (
        f'<div class="card"><h3>{escape(head)}</h3><pre>{marked}</pre>'
        f'<p class="quiet">{escape(" · ".join(facts))}</p></div>'
    )


def _sampling(sampling: dict[str, Any]) -> list[str]:
    known = (("temperature", "temperature"), ("seed", "seed"))
    return [f"{word} {sampling[name]}" for name, word in known if sampling.get(name) is not None]


def _votes(run: Run) -> list[str]:
    """What readers thought who did not know which model wrote it."""
    counts = Counter(vote.outcome for vote in run.votes)
    said = ", ".join(f"{outcome} {count}" for outcome, count in sorted(counts.items()))
    return [f"blind votes: {said}"] if said else []


def _marked(text: str, first: str) -> tuple[str, float]:
    """The text with the words marked that differ from `first`, and the part of its words that are shared."""
    ours, theirs = _WORDS.findall(text), _WORDS.findall(first)
    left, right = ours[:MOST_WORDS], theirs[:MOST_WORDS]
    parts: list[str] = []
    words = same = at = 0
    blocks = SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
    for start, _other, size in blocks:
        if start > at:
            parts.append(f"<mark>{escape(''.join(left[at:start]))}</mark>")
        parts.append(escape("".join(left[start : start + size])))
        same += sum(not word.isspace() for word in left[start : start + size])
        at = start + size
    rest = "".join(ours[MOST_WORDS:])
    if rest:
        parts.append(escape(rest))
    words = max(sum(not word.isspace() for word in side) for side in (left, right))
    return "".join(parts), same / words if words else 1.0
