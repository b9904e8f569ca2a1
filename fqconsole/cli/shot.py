"""`fqconsole shot`: a picture of a screen, for documents and bug reports."""

from pathlib import Path
from typing import Annotated

import typer

from fqconsole.cli.output import Output
from fqconsole.errors import UsageError

SETTLING_ROUNDS = 3  # a screen's answer may ask for one more thing


def shot(
    screen: Annotated[
        str, typer.Argument(metavar="SCREEN", help="models, fit, quantize, session, runs or gpus.")
    ] = "models",
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The SVG file. [default: SCREEN.svg]")
    ] = None,
    columns: Annotated[int, typer.Option(metavar="N", min=80, help="Width in cells.")] = 120,
    lines: Annotated[int, typer.Option(metavar="N", min=24, help="Height in cells.")] = 36,
    press: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Press this key first; may be given more than once."),
    ] = None,
) -> None:
    """Draw one screen of the console into an SVG file; needs no terminal."""
    import asyncio

    from fqconsole.app.modes import MODES

    digits = {mode.name: str(mode.digit) for mode in MODES}
    if screen not in digits:
        raise UsageError(f"There is no screen {screen!r}.", f"Choose {', '.join(digits)}.")
    file = out or Path(f"{screen}.svg")
    picture = asyncio.run(_drawn([digits[screen], *(press or ())], columns, lines))
    file.write_text(picture, encoding="utf-8")
    Output().say(f"wrote {file}")


async def _drawn(keys: list[str], columns: int, lines: int) -> str:
    from fqconsole.app.console import FqConsole

    app = FqConsole()
    async with app.run_test(size=(columns, lines)) as pilot:
        for key in ("", *keys):
            if key:
                await pilot.press(key)
            for _ in range(SETTLING_ROUNDS):
                await pilot.pause()
                await app.workers.wait_for_complete()
        return app.export_screenshot(title="fqconsole")
