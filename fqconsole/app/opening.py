"""How the console is opened in this terminal: for the operator, recorded, or on a recording."""

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from fqconsole import paths
from fqconsole.app.console import FqConsole
from fqconsole.app.job_lock import JobLock
from fqconsole.app.keymap import keymap
from fqconsole.app.messages import TerminalGone
from fqconsole.app.services import Services, real_services
from fqconsole.app.spare_session import SpareSession
from fqconsole.app.terminal_watch import TerminalWatch
from fqconsole.errors import UsageError
from fqconsole.settings import Settings, load

SHIPPED = Path(__file__).parent / "recordings" / "demo.jsonl.gz"


def run_console(events: Path | None = None) -> int:
    """Open the console; `events` is a file that everything the jobs say is recorded in.

    Returns the exit code: 0, 2 where it can't be opened, or 129, 130, 143 when a signal ended it.
    """
    from fqconsole.jobs.recording import RecordingWriter

    with ExitStack() as at_the_end:

        def make(settings: Settings) -> FqConsole:
            services = services_here(settings)
            if events is not None:
                writer = RecordingWriter(events)
                at_the_end.callback(writer.close)
                services = replace(services, start_job=writer.recorded(services.start_job))
            return FqConsole(services, settings)

        return _shown(make)


def run_replay(recording: Path = SHIPPED, speed: float = 1.0) -> int:
    """Play a recording in the console: no worker, no GPU, and nothing is written among the operator's files.

    Returns the exit code as `run_console`. Raises UsageError for a file that is no recording.
    """
    from fqconsole.app.director import Director
    from fqconsole.app.replay_services import replay_services
    from fqconsole.jobs.recording import read_recording

    jobs = read_recording(recording)
    with tempfile.TemporaryDirectory(prefix="fqconsole-replay-") as folder:

        def make(settings: Settings) -> FqConsole:
            os.environ["FQCONSOLE_HOME"] = folder  # whatever is written, a screenshot say, goes there
            services = replay_services(jobs, speed, Path(folder))
            app = FqConsole(services, settings, banner=f"REPLAY ×{speed:g}" if speed != 1 else "REPLAY")
            app.director = Director(app, jobs, speed)
            return app

        before = os.environ.get("FQCONSOLE_HOME")
        try:
            return _shown(make)
        finally:
            os.environ.pop("FQCONSOLE_HOME", None)
            if before is not None:
                os.environ["FQCONSOLE_HOME"] = before


def services_here(settings: Settings) -> Services:
    """The rooms of this installation, for the operator's own console or for a window of a browser."""
    services = real_services()
    if served():
        lock = JobLock(paths.log_dir().parent / "served-jobs.lock")
        return replace(services, start_job=lock.locked(services.start_job))
    if not settings.session.spare:
        return services
    spare = SpareSession()
    return replace(services, start_job=spare.start_job, spare=spare)


def _shown(make: Callable[[Settings], FqConsole]) -> int:
    if not served() and not sys.stderr.isatty():
        sys.stdout.write(
            "The console draws on stderr, which is not a terminal: run fqconsole without 2> redirection.\n"
        )
        return 2
    try:
        settings = load()
        keymap(settings.keys)
        app = make(settings)
    except UsageError as error:
        sys.stdout.write(f"fqconsole: {error}\n")
        return error.exit_code
    # The window of a browser is gone when the pipe that brings its keys is.
    terminal = sys.stdin.fileno() if served() else sys.stderr.fileno()
    watch = TerminalWatch(terminal, lambda: app.post_message(TerminalGone()))
    watch.start()
    try:
        app.run()
    finally:
        watch.stop()
    return app.return_code or 0


def served() -> bool:
    """Whether `fqconsole serve` started this console for a window of a browser: it has no terminal then."""
    return os.environ.get("FQCONSOLE_SERVED") == "1"
