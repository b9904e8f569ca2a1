"""One export: look at what the format can hold, write beside the place, give it its name when it is whole."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from fqconsole.errors import UsageError
from quantizer.disk import TEMPORARY, write_failure
from quantizer.export import FORMATS
from quantizer.reader import Checkpoint, open_checkpoint
from quantizer.watch import SilentWatch, Watch


@dataclass(frozen=True)
class Losses:
    """What a format does to a checkpoint. `inexact`: values that change; `notes`: what else to know."""

    inexact: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """An export under its final name. `exact`: every weight and scale is what it was."""

    path: Path
    bytes: int
    exact: bool
    notes: tuple[str, ...]


class Exporter(Protocol):
    """One format. Made for one checkpoint; raises OperatorError where the format can't hold it at all."""

    asks: bool  # whether what is not exact has to be asked for
    matrices: int  # steps of `write`

    def __init__(self, checkpoint: Checkpoint) -> None: ...

    def losses(self) -> Losses:
        """What changes. May read every scale, no codes."""

    def write(self, place: Path, watch: Watch) -> None:
        """Write to `place`, which is not there yet: a file or a folder, as the format has it."""


def export(
    checkpoint: Path, out: Path, *, to: str, inexact: bool = False, watch: Watch | None = None
) -> Exported:
    """Write `checkpoint` to the new file or folder `out` in the format `to`, one of `FORMATS`.

    Raises UsageError for an unknown format, a place that is taken, and values that the format can't hold
    unless `inexact`; OperatorError for a checkpoint that the format can't hold at all and for a disk that
    fails.
    """
    watch = watch or SilentWatch()
    if to not in FORMATS:
        raise UsageError(f"There is no format {to}.", f"Choose {', '.join(FORMATS)}.")
    out = out.expanduser().absolute()
    if out.exists():
        raise UsageError(f"{out} is there already.", "Name another place with --out.")
    made: Any = import_module(FORMATS[to])
    with open_checkpoint(checkpoint) as opened:
        exporter: Exporter = made.Exporter(opened)
        losses = exporter.losses()
        if losses.inexact and exporter.asks and not inexact:
            raise UsageError(
                f"{to} can't hold this checkpoint exactly: {losses.inexact[0]}",
                "Write it all the same with --inexact, or choose another format.",
            )
        place = out.with_name(out.name + TEMPORARY)
        _remove(place)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            watch.phase("export", exporter.matrices, "matrices")
            exporter.write(place, watch)
            place.rename(out)
        except OSError as failure:
            raise write_failure(failure, out) from failure
        finally:
            _remove(place)
    return Exported(out, _bytes(out), not losses.inexact, (*losses.inexact, *losses.notes))


def some(names: Sequence[str]) -> str:
    """The first name and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.is_file())
