"""The console application: six screens, a strip of GPUs, and the jobs, which belong to none of them."""

import asyncio
import dataclasses
import functools
import signal
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.events import DescendantFocus
from textual.message_pump import MessagePump
from textual.timer import Timer
from textual.worker import Worker, WorkerState

from fqconsole import paths
from fqconsole.app import formatting
from fqconsole.app.actions import Action, actions_of, bindings_of
from fqconsole.app.appearance import dress, hold_still, next_theme
from fqconsole.app.garbage import keep_what_is_there
from fqconsole.app.gpu_history import GpuHistory
from fqconsole.app.gpu_view import worker_names
from fqconsole.app.job_runner import PERIOD, JobHandle, JobRunner
from fqconsole.app.keymap import keymap, with_keys
from fqconsole.app.messages import (
    FitChanged,
    GpuReadings,
    JobChanged,
    ModelChosen,
    PreviewReady,
    SessionWanted,
    StoreReady,
    TerminalGone,
    WorkspaceChanged,
)
from fqconsole.app.modes import MODES
from fqconsole.app.palette import ActionCommands
from fqconsole.app.quantize_progress import overall_fraction, phases_of
from fqconsole.app.screens.dialogs import Explanation, HelpDialog, JumpDialog, LogDrawer, Question
from fqconsole.app.screens.loading import load_all, make_screen
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.screens.presenter import PresenterScreen
from fqconsole.app.services import Services, real_services
from fqconsole.app.settings_view import settings_lines
from fqconsole.app.store_thread import StoreThread, sentence
from fqconsole.app.terminal_watch import go_on_only_if_suspended
from fqconsole.app.workspace import FitChoice, Workspace
from fqconsole.jobs.messages import Request
from fqconsole.settings import Settings

if TYPE_CHECKING:
    from fqconsole.app.director import Director

ENDED_BY = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}


BADGE_PLACES = {
    "quantize": "quantize",
    "download": "models",
    "describe": "models",
    "evaluate": "quantize",
    "plan": "fit",
    "probe": "fit",
}

KEPT_WHEN_STOPPED = {
    "quantize": "finished shards stay for a resume",
    "download": "what is here already stays for the next time",
}


def job_word(job: JobHandle) -> str:
    """`64%`, or three dots while that is unknown."""
    progress = job.progress
    part = (
        overall_fraction(progress.phase, progress.done, progress.total, phases_of(job.request))
        if progress
        else None
    )
    return "…" if part is None else formatting.percent(part)


class FqConsole(App[None], inherit_bindings=False):
    """Shared state lives here and changes only in the message handlers below."""

    TITLE = "fqconsole"
    CSS_PATH = "console.tcss"
    DEFAULT_MODE = "models"
    MODES: ClassVar[dict[str, Any]] = {mode.name: functools.partial(make_screen, mode.name) for mode in MODES}
    COMMANDS: ClassVar[set[Any]] = {ActionCommands}
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings_of("everywhere"),
        Binding("ctrl+c", "help_quit", show=False, system=True),
    ]
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - as Textual declares it
        (0, "-too-narrow"),
        (80, "-narrow"),
        (100, "-normal"),
        (140, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-too-short"), (24, "-short"), (34, "-tall")]  # noqa: RUF012

    def __init__(
        self, services: Services | None = None, settings: Settings | None = None, *, banner: str = ""
    ) -> None:
        """`banner` stands in place of the name while this is no console of the operator's: REPLAY."""
        super().__init__()
        self.settings = settings or Settings()
        self.banner = banner
        self.director: Director | None = None  # what leads through a recording
        self.services = services or real_services()
        usual = self.settings.quantize
        self.workspace = Workspace(choice=FitChoice(bits=usual.bits, mode=usual.mode))
        self.store = StoreThread(self.services.open_store)
        self.jobs = JobRunner(self.services, self.store, lambda: [self, *self.screens_alive()])
        self.gpus = GpuHistory()
        self._gpu_timer: Timer | None = None
        self._gpu_interval = self.settings.screen.gpu_interval
        self._visited: list[str] = []
        self._told: set[int] = set()  # jobs whose end was told

    # start and end

    def on_mount(self) -> None:
        dress(self, self.settings.screen)
        self.set_keymap(keymap(self.settings.keys))
        self._listen_to_signals()
        self.set_interval(PERIOD, self.jobs.flush_all)
        self.call_after_refresh(self._after_first_paint)

    def _listen_to_signals(self) -> None:
        """Terminated, Textual leaves the alternate screen and mouse reporting on: leave in order instead."""
        if self.is_headless:
            return
        loop = asyncio.get_running_loop()
        for number, code in ENDED_BY.items():
            loop.add_signal_handler(number, functools.partial(self.exit, return_code=code))
        go_on_only_if_suspended(self._driver)

    def _after_first_paint(self) -> None:
        self._keep_what_is_there()
        self.open_store()
        self.watch_gpus()
        self._load_screens()
        self.services.spare.keep()
        if self.director is not None:
            self.run_worker(self.director.lead(), group="director", exit_on_error=False)

    def _keep_what_is_there(self) -> None:
        """Not in tests, which start many consoles."""
        if not self.is_headless:
            keep_what_is_there()

    @work(group="screens", thread=True, exit_on_error=False)
    def _load_screens(self) -> None:
        load_all()
        self._keep_what_is_there()

    @work(group="store", exit_on_error=False)
    async def open_store(self) -> None:
        problem = await self.store.problem()
        if not problem:
            await self.store.call(self.services.sweep)
        for screen in self.screens_alive():
            screen.post_message(StoreReady(problem))
        if problem:
            self.notify(problem, title="Runs can't be recorded", severity="error", timeout=20, markup=False)

    @on(TerminalGone)
    def _terminal_gone(self) -> None:
        self.exit(return_code=ENDED_BY[signal.SIGHUP])

    async def on_unmount(self) -> None:
        await self.services.spare.close()
        await self.jobs.end_all()
        self.store.close()

    # GPUs

    def watch_gpus(self) -> None:
        self._read_gpus()
        if self.services.gpu_interval > 0:
            self.set_gpu_interval(self.settings.screen.gpu_interval)

    @property
    def gpu_interval(self) -> float:
        """Seconds between two readings of the GPUs."""
        return self._gpu_interval

    def set_gpu_interval(self, seconds: float) -> None:
        """Read the GPUs this often from now on; what is recorded with runs follows."""
        self._gpu_interval = seconds
        if self._gpu_timer is not None:
            self._gpu_timer.stop()
        self._gpu_timer = self.set_interval(seconds, self._read_gpus)

    @work(group="gpus", thread=True, exclusive=True, exit_on_error=False)
    def _read_gpus(self) -> None:
        """A reading may take long on a sick driver: it never runs on the event loop."""
        source = self.gpus.source or self.services.open_gpus()
        snapshots = source.sample() if source.available else ()
        self.call_later(self._take_readings, source, snapshots, self.services.host_memory())

    async def _take_readings(self, source: Any, snapshots: tuple[Any, ...], host: Any) -> None:
        self.gpus.source = source
        self.gpus.problem = source.problem
        self.gpus.take(snapshots, host, worker_names(self.jobs.handles))
        for screen in self.screens_alive():
            screen.post_message(GpuReadings())
        await self.jobs.note_gpus(snapshots)

    # screens

    def screens_alive(self) -> Iterable[MessagePump]:
        """Every screen that exists, also those that are not shown."""
        return [screen for stack in self._screen_stacks.values() for screen in stack if screen.is_running]

    def show(self, mode: str) -> None:
        """Switch to one of the six screens and remember where Esc goes back to."""
        if mode == self.current_mode:
            return
        self._visited = [*[name for name in self._visited if name != mode], self.current_mode]
        presenter = self.screen
        if isinstance(presenter, PresenterScreen):
            presenter.action_close()  # it lies over one screen, and goes with the audience to the next
            self.call_after_refresh(self.action_present)
        self.switch_mode(mode)

    def action_show(self, mode: str) -> None:
        self.show(mode)

    async def action_back(self) -> None:
        screen = self.screen
        if screen.maximized is not None:
            screen.minimize()
        elif isinstance(screen, ModeScreen) and screen.go_back():
            return
        elif self._visited:
            self.switch_mode(self._visited.pop())

    def action_help(self) -> None:
        screen = self.screen
        if not isinstance(screen, ModeScreen):
            return
        title = next(mode.title for mode in MODES if mode.name == screen.MODE)
        groups = [
            (f"On {title}", tuple(self.as_bound(actions_of(screen.MODE)))),
            ("Everywhere", tuple(self.as_bound(actions_of("everywhere")))),
        ]
        self.push_screen(HelpDialog(title, screen.help_text(), groups))

    def as_bound(self, actions: Iterable[Action]) -> list[Action]:
        """Actions with the keys that start them here: the operator may have given them others."""
        return with_keys(actions, self.settings.keys)

    def action_theme(self) -> None:
        self.theme = next_theme(self.theme)
        self.notify(f"Theme {self.theme}; `screen.theme` in config.toml keeps it.", timeout=3, markup=False)

    def action_present(self) -> None:
        if isinstance(self.screen, ModeScreen):
            self.push_screen(PresenterScreen())

    def action_settings(self) -> None:
        self.push_screen(Explanation("Settings in force", settings_lines()))

    @on(DescendantFocus)
    def _focused(self, message: DescendantFocus) -> None:
        if self.settings.screen.reduced_motion:
            hold_still(message.widget)

    def action_log_drawer(self) -> None:
        self.push_screen(LogDrawer(self.jobs, str(paths.log_dir())))

    def action_shoot(self) -> None:
        folder = paths.log_dir().parent / "screenshots"
        folder.mkdir(parents=True, exist_ok=True)
        self.deliver_screenshot(path=str(folder))

    def action_maximize_panel(self) -> None:
        screen = self.screen
        if screen.maximized is not None:
            screen.minimize()
        elif screen.focused is not None:
            screen.maximize(screen.focused)

    async def action_jump(self) -> None:
        """Waits for the dialog, so that a letter typed at once goes to it and not into a prompt."""
        screen = self.screen
        if not isinstance(screen, ModeScreen):
            return
        letters = iter("asdfghjkl")
        panels = [
            (next(letters), str(panel.border_title).partition(" · ")[0], panel.id)
            for panel in screen.query("Panel")
            if panel.id and (panel.can_focus or panel.query("*:can-focus"))
        ]
        await self.push_screen(JumpDialog(panels, [(str(m.digit), m.title) for m in MODES]), self._jump)

    def _jump(self, target: str | None) -> None:
        kind, _, name = (target or "").partition(":")
        if kind == "screen":
            self.show(name)
        elif kind == "panel":
            panel = self.screen.query_one(f"#{name}")
            focusable = panel if panel.can_focus else next(w for w in panel.query("*") if w.focusable)
            focusable.focus()

    async def action_quit(self) -> None:
        """Quit; a running job is asked about once."""
        jobs = [job for job in self.jobs.active if job.kind != "session" and not job.unasked]
        if not jobs:
            self.exit()
        elif not isinstance(self.screen, Question):
            kept = KEPT_WHEN_STOPPED.get(jobs[0].kind, "it leaves nothing behind")
            text = f"{jobs[0].title} is still running. Quitting cancels it; {kept}."
            question = Question("A job is running", text, safe="Stay", go="Cancel the job and quit")
            self.push_screen(question, lambda answer: self.exit() if answer == "go" else None)

    async def begin_job(
        self, make_request: Callable[[Any], Request], *, kind: str, title: str
    ) -> JobHandle | None:
        """Start a job that is a run; when the database or the request says no, a sentence says why."""
        try:
            return await self.jobs.begin(make_request, kind=kind, title=title)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the console stays
            title = "The job could not be started"
            self.notify(sentence(error), title=title, severity="error", timeout=15, markup=False)
            return None

    # messages that change shared state

    def badges(self) -> dict[str, str]:
        """What stands behind a screen's name in the header: how far its job is."""
        return {BADGE_PLACES[job.kind]: job_word(job) for job in self.jobs.active if job.kind in BADGE_PLACES}

    @on(JobChanged)
    def _job_changed(self, message: JobChanged) -> None:
        """A toast tells the end of a job to who looks at another screen."""
        job = message.job
        if job.active or job.number in self._told or job.kind not in BADGE_PLACES:
            return
        self._told.add(job.number)
        if not self.screen_stack:  # the console is closing: nobody is left to be told
            return
        screen = self.screen
        if isinstance(screen, ModeScreen) and screen.shows_job(job):
            return
        here = BADGE_PLACES[job.kind] == self.current_mode
        if not here or job.kind == "download":  # Models shows its list, not how a download went
            number = next(mode.digit for mode in MODES if mode.name == BADGE_PLACES[job.kind])
            words = {"done": "is done", "cancelled": "was cancelled", "failed": "failed"}[job.status]
            kept = KEPT_WHEN_STOPPED.get(job.kind) if job.status == "cancelled" else None
            what = f": {job.failure.what.rstrip('.')}" if job.failure else f": {kept}" if kept else ""
            after = f" Press {number}." if not here else f" {job.failure.next_step}" if job.failure else ""
            severity: Any = "error" if job.failure else "information"
            self.notify(f"{job.title} {words}{what}.{after}", severity=severity, timeout=10, markup=False)

    def tell_workspace_changed(self, what: str) -> None:
        for screen in self.screens_alive():
            screen.post_message(WorkspaceChanged(what))

    @on(ModelChosen)
    def _model_chosen(self, message: ModelChosen) -> None:
        if self.workspace.choose_model(message.entry, message.description):
            self.tell_workspace_changed("description")
        self.show("fit")

    @on(FitChanged)
    def _fit_changed(self, message: FitChanged) -> None:
        self.workspace.choice = message.choice
        self.tell_workspace_changed("choice")

    @on(PreviewReady)
    def _preview_ready(self, message: PreviewReady) -> None:
        self.workspace.preview = message.preview
        self.workspace.planned = message.planned
        self.workspace.parts = message.parts
        self.tell_workspace_changed("preview")

    @on(SessionWanted)
    def _session_wanted(self, message: SessionWanted) -> None:
        session, devices = message.session, len(self.gpus.latest)
        gpus = min(session.gpus or self.settings.session.gpus, max(1, devices))
        self.workspace.session = dataclasses.replace(session, gpus=gpus)
        self.tell_workspace_changed("session")
        self.show("session")

    @on(Worker.StateChanged)
    def _worker_changed(self, message: Worker.StateChanged) -> None:
        """A failure in a background worker becomes a sentence on the screen, never the end of the console."""
        if message.state is WorkerState.ERROR:
            error = message.worker.error
            words = sentence(error) if error else "It said nothing more; F8 shows the log."
            self.notify(words, title="Something went wrong", severity="error", timeout=15, markup=False)
