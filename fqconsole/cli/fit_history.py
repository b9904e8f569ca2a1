"""`fqconsole fit --history`: what answers were predicted to take, and took, term by term."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fqconsole.fit import Capacity
    from store import MemoryPair

TERMS = ("weights", "kv", "activations", "runtime", "total")
OF_SEVERAL = "exchange"  # of sessions on several GPUs, and nothing else of them


def document(history: "Sequence[MemoryPair]", here: "Capacity") -> dict[str, Any]:
    """The runs, newest first, and what they teach this device."""
    return {"runs": list(history), "accuracy": here.accuracy, "runtime": here.runtime}


def page(history: "Sequence[MemoryPair]", here: "Capacity") -> str:
    """The same as text: predicted → measured of each term."""
    from fqconsole.cli.quantities import precision
    from fqconsole.cli.table import table

    if not history:
        return "No answer was measured yet. Type: fqconsole generate demo"
    several = any(OF_SEVERAL in pair.terms for pair in history)
    terms = (*TERMS, OF_SEVERAL) if several else TERMS
    rows = [
        [
            pair.run_id,
            pair.model,
            "16-bit" if pair.bits is None else precision(pair.bits),
            "host" if pair.gpu is None else f"GPU {pair.gpu}",
            *(_cell(pair, term) for term in terms),
            _error(pair),
        ]
        for pair in history
    ]
    head = ["run", "model", "precision", "where", *terms, "error"]
    lines = ["Predicted → measured, for the tokens that there were.", table(head, rows)]
    if here.accuracy is not None:
        lines.append(f"On {here.name} the preview as it is now is {accuracy_words(here)}.")
    if here.runtime is not None:
        lines.append(f"Runtime there: {here.runtime.detail.splitlines()[0]}.")
    return "\n\n".join(lines)


def accuracy_words(here: "Capacity") -> str:
    """`± 0.8 % in 14 runs here`; empty where nothing is known."""
    if here.accuracy is None:
        return ""
    return f"± {here.accuracy.most * 100:.1f} % in {here.accuracy.runs} runs here"


def _cell(pair: "MemoryPair", term: str) -> str:
    from fqconsole.cli.quantities import size

    found = pair.terms.get(term)
    return "" if found is None else f"{size(found[0])} → {size(found[1])}"


def _error(pair: "MemoryPair") -> str:
    from fqconsole.fit.history import error_of

    return f"{error_of(pair):+.1%}" if "total" in pair.terms else ""
