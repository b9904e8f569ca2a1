"""Helpers of the tests that drive Models, Fit and Quantize by keys."""

from fqconsole.app.console import FqConsole
from fqconsole.app.widgets.job_bar import JobBar
from fqconsole.app.widgets.key_footer import KeyFooter
from tests.app.conftest import settled
from tests.app.fakes import JobScripts, fake_services


def footer(app):
    return app.screen.query_one(KeyFooter).text


def notes(app):
    return [note.message for note in app._notifications]


def head(app):
    return str(app.screen.query_one(JobBar).render())


async def press(pilot, *keys):
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


def console(job, **changes):
    """A console whose quantize job is `job`, and the scripts that note what was started."""
    scripts = JobScripts(quantize=job)
    return scripts, FqConsole(fake_services(jobs=scripts, **changes))


async def to_plan(pilot):
    await settled(pilot)
    await press(pilot, "enter", "enter")
