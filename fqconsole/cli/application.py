"""The command line as one Typer application; every command's body imports what it needs when it runs."""

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import fqconsole
from fqconsole.cli import (
    api,
    config,
    demo,
    doctor,
    evaluate,
    export,
    fit,
    generate,
    gpus,
    models,
    paths,
    plan,
    quantize,
    replay,
    runs,
    serve,
    serve_command,
    shot,
    verify,
)
from fqconsole.cli.ending import EndedBySignal, listen
from fqconsole.cli.faults import report
from fqconsole.cli.flags import defaults_of_commands, environment_kept, keep
from fqconsole.cli.manual import below_options
from fqconsole.cli.output import ReaderGone, complain, write

READER_GONE = 128 + 13  # what a shell reports of a program that SIGPIPE ended
ORDER = (
    "models",
    "fit",
    "plan",
    "quantize",
    "verify",
    "evaluate",
    "export",
    "generate",
    "api",
    "serve-command",
    "runs",
    "gpus",
    "demo",
    "doctor",
    "config",
    "paths",
    "replay",
    "serve",
    "shot",
    "help",
)
EXIT_CODES = (
    "Exit codes: 0 ok, 1 the job failed, 2 usage, 3 predicted not to fit, 4 out of memory or device lost, "
    "129/130/143 ended by a signal."
)


class InOrder(TyperGroup):
    """Commands in the order of the work, not groups after all others."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of ORDER."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command with what its page in the manual says below its options."""
        command = super().get_command(ctx, cmd_name)
        for name, one in getattr(command, "commands", {"": command}).items():
            if one is not None:
                one.epilog = below_options(f"{cmd_name} {name}".strip())
        return command


application = typer.Typer(
    name="fqconsole",
    cls=InOrder,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    epilog=EXIT_CODES,
)
application.add_typer(models.application, name="models")
application.command("fit")(fit.fit)
application.command("plan")(plan.plan)
application.command("quantize")(quantize.quantize)
application.command("verify")(verify.verify)
application.command("evaluate")(evaluate.evaluate)
application.command("export")(export.export)
application.command("generate")(generate.generate)
application.command("api")(api.api)
application.command("serve-command")(serve_command.serve_command)
application.add_typer(runs.application, name="runs")
application.command("gpus")(gpus.gpus)
application.command("demo")(demo.demo)
application.command("doctor")(doctor.doctor)
application.add_typer(config.application, name="config")
application.command("paths")(paths.paths)
application.command("replay")(replay.replay)
application.command("serve")(serve.serve)
application.command("shot")(shot.shot)


@application.command("help")
def help_(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="quantize, runs export …")
    ] = None,
) -> None:
    """Explain a command: the same as --help after it."""
    application(args=[*(command or ()), "--help"], prog_name="fqconsole", standalone_mode=False)


def _print_version(asked: bool) -> None:
    if asked:
        write(sys.stdout, f"fqconsole {fqconsole.__version__}\n")
        raise typer.Exit


@application.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    theme: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Colours of the console: fqconsole, light, amber or contrast."),
    ] = None,
    ascii_: Annotated[
        bool, typer.Option("--ascii", help="Draw the console with ASCII only: no lines, blocks or braille.")
    ] = False,
    reduced_motion: Annotated[
        bool, typer.Option("--reduced-motion", help="No animation and no blinking cursor in the console.")
    ] = False,
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Record what the jobs of this console say, for `fqconsole replay`."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any setting of `fqconsole config show`, for this time."
        ),
    ] = None,
) -> None:
    """Make large language models small, see what that costs, and talk to the result.

    Without a command it opens the console. Each step of the console is a command here too.
    """
    look = {"theme": theme or "", "ascii": _yes(ascii_), "reduced_motion": _yes(reduced_motion)}
    keep({f"screen.{name}": value for name, value in look.items()}, settings or [])
    if context.invoked_subcommand != "config":  # which mends what is wrong with them
        context.default_map = defaults_of_commands()
    if context.invoked_subcommand is None:
        from fqconsole.app import run_console  # it answers signals itself, so that the terminal is put right

        raise typer.Exit(run_console(events))
    listen()


def _yes(given: bool) -> str:
    return "true" if given else ""


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; the exit code. Every failure is told in one line."""
    with environment_kept():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal of another encoding shows \\u2014, and does not end the command.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = application(args=arguments, prog_name="fqconsole", standalone_mode=False)
    except EndedBySignal as ended:
        complain(f"Ended by {ended}.")
        return ended.exit_code
    except KeyboardInterrupt:
        return 130
    except ReaderGone:
        return READER_GONE
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator gets a sentence
        return _told(error)
    return code if isinstance(code, int) else 0


def _told(error: Exception) -> int:
    """The exit code of a failure, after telling it. Typer's own complaints are told in the same form."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "fqconsole"
        complain(f"{error.format_message().rstrip('.?')}. See {command} --help.")
        return int(error.exit_code)
    if isinstance(error, typer.Abort):
        complain("Ended by the operator.")
        return 1
    return report(error)
