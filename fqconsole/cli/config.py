"""`fqconsole config`: the settings in force and where each comes from."""

from pathlib import Path
from typing import Annotated

import typer

from fqconsole.cli.options import Json
from fqconsole.cli.output import Output

application = typer.Typer(
    help="Show, check and begin the settings. A flag wins over FQCONSOLE_* in the environment, that over "
    "config.toml, that over the default.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

Where = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="This file instead of the operator's own.")
]


@application.command("show")
def show(*, file: Where = None, json: Json = False) -> None:
    """Print every setting with its value and its origin."""
    from fqconsole.cli.table import table
    from fqconsole.settings import explained, toml_value

    output = Output(json=json)
    rows = explained(file=file)
    if json:
        output.result({"settings": rows})
        return
    cells = [
        [row.name, toml_value(row.value), f"{row.source} {row.place}".strip(), row.meaning] for row in rows
    ]
    output.line(table(["setting", "value", "origin", "meaning"], cells))


@application.command("validate")
def validate(*, file: Where = None) -> None:
    """Check the file, the environment and the keys; exit code 2 tells what is wrong."""
    from fqconsole.app.keymap import keymap
    from fqconsole.home import config_file
    from fqconsole.settings import load

    settings = load(file=file)
    keymap(settings.keys)
    place = file or config_file()
    Output().line(
        f"{place} is sound." if place.is_file() else f"There is no {place}: the defaults are in force."
    )


@application.command("path")
def path() -> None:
    """Print where config.toml is, or would be."""
    from fqconsole.home import config_file

    Output().line(str(config_file()))


@application.command("schema")
def schema() -> None:
    """Print the JSON Schema of config.toml, for editors."""
    from fqconsole.settings import schema as described

    Output(json=True).result(described())


@application.command("init")
def init(*, file: Where = None) -> None:
    """Write a config.toml with every setting, its meaning and its default; an existing one stays."""
    from fqconsole.errors import UsageError
    from fqconsole.home import config_file
    from fqconsole.settings import template

    place = file or config_file()
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with place.open("x", encoding="utf-8") as new:
            new.write(template())
    except FileExistsError:
        raise UsageError(f"{place} is there already.", "Edit it, or move it away first.") from None
    Output().say(f"wrote {place}")
