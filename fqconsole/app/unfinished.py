"""Quantize runs that ended before their checkpoint was whole, and what is needed to go on with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fqconsole.app.fit_choices import unusual_of
from quantizer.methods import DEFAULT_MODE

MOST = 20
ENDED_EARLY = "kind:quantize status:interrupted,cancelled,failed"


@dataclass(frozen=True)
class Unfinished:
    """One run; `options` are those that it was begun with, as `begin_quantize` takes them."""

    run_id: str
    model_id: str
    status: str
    ended: float
    finished_files: int
    options: dict[str, Any]

    @property
    def out(self) -> Path:
        return Path(self.options["out"])

    @property
    def title(self) -> str:
        """`demo → int4 adaptive, head int8`."""
        bits, kind = self.options["bits"], self.options.get("granularity", "adaptive")
        what = ", ".join([f"int{bits} {kind}", *unusual_of(self.options)])
        return f"{self.model_id.rstrip('/').rpartition('/')[2]} → {what}"

    def line(self, now: float) -> str:
        """`r0012  demo → int4 adaptive · interrupted 12 min ago · 3 files kept`."""
        files = f"{self.finished_files} file{'' if self.finished_files == 1 else 's'} kept"
        return f"{self.run_id}  {self.title} · {self.status} {ago(now - self.ended)} · {files}"


def unfinished_runs(store: Any) -> list[Unfinished]:
    """The newest first; of several into one folder only the last, and none whose folder is whole, in use or
    gone. Reads journals: not on the event loop.
    """
    from quantizer.checkpoint import find_unfinished

    found: list[Unfinished] = []
    seen: set[str] = set()
    for row in store.list_runs(ENDED_EARLY, limit=MOST):
        options = store.run(row.run_id).options
        out = options.get("out")
        if not out or out in seen:
            continue
        seen.add(out)
        left = find_unfinished(Path(out))
        if left is None or left.in_use or Path(out).is_dir():
            continue
        found.append(
            Unfinished(
                row.run_id,
                row.model,
                row.status,
                row.ended or row.started,
                left.finished_parts,
                {"mode": DEFAULT_MODE, **options, "model_id": row.model, "revision": row.revision},
            )
        )
    return found


def ago(seconds: float) -> str:
    """`just now`, `12 min ago`, `3 h ago`, `2 days ago`."""
    minutes = int(max(0.0, seconds) // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min ago"
    hours = minutes // 60
    if hours < 24:
        return f"{hours} h ago"
    days = hours // 24
    return f"{days} day{'' if days == 1 else 's'} ago"
