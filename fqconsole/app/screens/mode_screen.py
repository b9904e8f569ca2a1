"""What the six screens share: header, GPU strip, footer, the line for a small terminal, the messages."""

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.events import Resize, ScreenResume
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from fqconsole.app.actions import Action, action
from fqconsole.app.messages import GpuReadings, JobChanged, JobEvents, WorkspaceChanged
from fqconsole.app.widgets.gpu_strip import GpuStrip
from fqconsole.app.widgets.header_strip import HeaderStrip
from fqconsole.app.widgets.key_footer import KeyFooter

if TYPE_CHECKING:
    from fqconsole.app.console import FqConsole
    from fqconsole.app.job_runner import JobHandle

SMALLEST = (80, 24)


class ModeScreen(Screen[None]):
    """A screen names its `MODE`, its `FOOTER` (action ids), its `HELP`, and composes in `compose_body`.

    `workspace_changed` is called when it is shown, and when the operator's choices change elsewhere.
    """

    MODE: ClassVar[str] = ""
    FOOTER: ClassVar[tuple[str, ...]] = ()
    HELP: ClassVar[str] = ""
    ALLOW_IN_MAXIMIZED_VIEW = "HeaderStrip, GpuStrip, KeyFooter"

    @property
    def console(self) -> "FqConsole":
        from fqconsole.app.console import FqConsole

        return cast(FqConsole, self.app)

    def compose(self) -> ComposeResult:
        yield HeaderStrip(self.MODE)
        with Container(id="body"):
            yield from self.compose_body()
        yield GpuStrip()
        yield KeyFooter()
        yield Static(id="too-small")

    def compose_body(self) -> ComposeResult:
        """The screen's own widgets."""
        raise NotImplementedError

    def footer_entries(self) -> list[tuple[Action, str]]:
        """The keys that matter now; a screen overrides this where a word depends on its state."""
        return [(action(action_id), action(action_id).label) for action_id in self.FOOTER]

    def refresh_footer(self) -> None:
        entries = self.footer_entries()
        bound = self.console.as_bound(item for item, _word in entries)
        self.query_one(KeyFooter).show(
            [(item, word) for item, (_item, word) in zip(bound, entries, strict=True)]
        )

    def workspace_changed(self, what: str) -> None:
        """Read the workspace again; `what` is the field that changed, or "shown"."""

    def job_changed(self, message: JobChanged) -> None:
        """A job started or ended."""

    def job_events(self, message: JobEvents) -> None:
        """Events of a job, ten times a second."""

    def shows_job(self, job: "JobHandle") -> bool:
        """Whether the end of this job is seen here, so that no note has to tell it."""
        return False

    @property
    def hides_names(self) -> bool:
        """Whether a blind comparison is under way, whose figures nobody may see."""
        return False

    def go_back(self) -> bool:
        """Esc: True when the screen had something of its own to close."""
        return False

    def help_text(self) -> str:
        """What F1 says: the help of the widget in focus, or the nearest one around it, else of the screen."""
        node = self.focused
        while isinstance(node, Widget):
            text = getattr(node, "HELP", "")
            if isinstance(text, str) and text and not isinstance(node, Screen):
                return text
            node = cast("Widget | None", node.parent)
        return self.HELP

    @on(ScreenResume)
    def _now_shown(self) -> None:
        self.refresh_strips()
        self.refresh_footer()
        self.workspace_changed("shown")

    @on(Resize)
    def _resized(self, event: Resize) -> None:
        width, height = event.size
        needs = f"fqconsole needs {SMALLEST[0]}×{SMALLEST[1]} cells; this terminal has {width}×{height}."
        self.query_one("#too-small", Static).update(f"{self.console.banner} {needs}".lstrip())

    @on(WorkspaceChanged)
    def _workspace_changed(self, message: WorkspaceChanged) -> None:
        self.workspace_changed(message.what)

    @on(JobChanged)
    def _job_changed(self, message: JobChanged) -> None:
        self.refresh_strips()
        self.job_changed(message)
        self.refresh_footer()

    @on(JobEvents)
    def _job_events(self, message: JobEvents) -> None:
        if self.is_current:
            self.query_one(HeaderStrip).show_badges(self.console.badges())
        self.job_events(message)

    @on(GpuReadings)
    def _gpu_readings(self) -> None:
        if self.is_current:
            self.query_one(GpuStrip).show(self.console.gpus)

    def refresh_strips(self) -> None:
        self.query_one(HeaderStrip).show_badges(self.console.badges())
        self.query_one(GpuStrip).show(self.console.gpus)

    @on(HeaderStrip.Picked)
    def _picked(self, message: HeaderStrip.Picked) -> None:
        self.console.show(message.mode)
