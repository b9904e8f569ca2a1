"""Messages between screens and console: results travel in them; only the console changes shared state.

Up (a screen posts, the console handles): ModelChosen, FitChanged, PreviewReady, SessionWanted.
Down (the console posts to every screen that exists): WorkspaceChanged, JobEvents, JobChanged, GpuReadings,
StoreReady.
"""

from typing import TYPE_CHECKING, Any

from textual.message import Message

from fqconsole.app.model_parts import ModelParts
from fqconsole.app.workspace import FitChoice, SessionChoice
from fqconsole.jobs.messages import AnyEvent
from fqconsole.models.description import ModelDescription, ModelEntry

if TYPE_CHECKING:
    from fqconsole.app.job_runner import JobHandle


class ModelChosen(Message):
    """The operator picked a model; the console shows its fit."""

    def __init__(self, entry: ModelEntry, description: ModelDescription) -> None:
        super().__init__()
        self.entry = entry
        self.description = description


class FitChanged(Message):
    """A choice on the Fit screen changed."""

    def __init__(self, choice: FitChoice) -> None:
        super().__init__()
        self.choice = choice


class PreviewReady(Message):
    """The memory preview of a choice is computed, and what became of its goal (None: FineQuant's rule);
    `parts` are those of its model.
    """

    def __init__(self, preview: Any, planned: Any, parts: ModelParts) -> None:
        super().__init__()
        self.preview = preview
        self.planned = planned
        self.parts = parts


class SessionWanted(Message):
    """Open the Session screen on this model."""

    def __init__(self, session: SessionChoice) -> None:
        super().__init__()
        self.session = session


class WorkspaceChanged(Message, bubble=False):
    """The operator's choices changed; `what` is the name of the field of Workspace."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what


class JobEvents(Message, bubble=False):
    """Events of one job since the last such message, at most ten messages a second."""

    def __init__(self, job: "JobHandle", events: tuple[AnyEvent, ...]) -> None:
        super().__init__()
        self.job = job
        self.events = events


class JobChanged(Message, bubble=False):
    """A job started or ended, was paused or went on: read `job.status`."""

    def __init__(self, job: "JobHandle") -> None:
        super().__init__()
        self.job = job


class GpuReadings(Message, bubble=False):
    """New readings stand in `app.gpus`."""


class StoreReady(Message, bubble=False):
    """The run database is open, or can't be: then `problem` is a sentence."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem


class TerminalGone(Message):
    """Nobody looks any more: the terminal was closed."""
