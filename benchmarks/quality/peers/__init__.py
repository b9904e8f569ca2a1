"""Other data-free quantizers, one small adapter each; what is absent is left out with a sentence."""

import contextlib
import io
from collections.abc import Callable, Mapping

from benchmarks.quality.peers import bitsandbytes, gguf, hqq, quanto, sinq, torchao
from benchmarks.quality.peers.peer import Rebuilt, Setting

# Named as the package index names them. Nothing of theirs is imported before `settings` is called.
PEERS: Mapping[str, Callable[[], list[Setting]]] = {
    "hqq": hqq.settings,
    "bitsandbytes": bitsandbytes.settings,
    "torchao": torchao.settings,
    "optimum-quanto": quanto.settings,
    "sinq": sinq.settings,
    "gguf": gguf.settings,
}

__all__ = ["PEERS", "Rebuilt", "Setting", "find_settings"]


def find_settings(
    names: list[str], peers: Mapping[str, Callable[[], list[Setting]]] = PEERS
) -> tuple[list[Setting], list[str]]:
    """All settings of the peers that are installed, and one sentence for each that can't be used here."""
    found: list[Setting] = []
    missing: list[str] = []
    for name in names:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found += peers[name]()
        except ImportError as absent:
            missing.append(f"{name} is left out: it can't be imported ({absent}).")
        except Exception as failure:  # noqa: BLE001 -- a peer's trouble must not end the others
            missing.append(f"{name} is left out: {type(failure).__name__}: {failure}.")
    return found, missing
