"""The Textual console: screens and widgets over jobs, store and preview; it never touches torch."""


def run_console() -> int:
    """Open the console in this terminal and return the exit code of the process.

    Textual is imported here and not with the package, so that the plain command line starts fast.
    """
    from fqconsole.app.console import run_console as run

    return run()


__all__ = ["run_console"]
