"""`fqconsole serve`: the console in a browser on this machine."""

import importlib.util
import os
import socket
from typing import Annotated

import typer

from fqconsole.cli.output import Output
from fqconsole.errors import OperatorError, UsageError
from fqconsole.installing import to_have


def serve(
    *,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port on 127.0.0.1; 0: a free one.")
    ] = 8712,
    replay: Annotated[
        bool, typer.Option("--replay", help="Play the recording that ships with fqconsole.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the links.")] = False,
) -> None:
    """Show the console in a browser, on this machine only; over ssh, from yours.

    It prints a link. Each link works once, and then the next one is printed. Whoever opens it can do what you
    can do in the console. A console ends with its window; one window at a time may run jobs.
    """
    import asyncio

    if importlib.util.find_spec("textual_serve") is None:
        raise UsageError("The console in a browser needs textual-serve.", to_have("serve"))
    asyncio.run(_served(port, replay=replay, output=Output(quiet=quiet)))


async def _served(port: int, *, replay: bool, output: Output) -> None:
    import asyncio
    import signal

    from fqconsole.app.web_server import ConsoleServer, console_command
    from fqconsole.cli.ending import EndedBySignal, heeded

    os.environ["FQCONSOLE_SERVED"] = "1"
    ended, by = asyncio.Event(), list[int]()
    loop = asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        by.append(number)
        ended.set()

    for number in heeded():
        loop.add_signal_handler(number, end, number)
    told: list[str] = []

    def tell(link: str) -> None:
        output.line(link)
        if not told:
            output.say(_instructions(server.port))
        told.append(link)

    server = ConsoleServer(console_command(*(["replay"] if replay else [])), port, tell)
    try:
        await server.run(ended)
    except OSError as error:
        raise OperatorError(
            f"Port {port} can't be used: {os.strerror(error.errno or 0)}.", "Choose another: --port 0."
        ) from None
    if by:
        raise EndedBySignal(by[0])


def _instructions(port: int) -> str:
    user = os.environ.get("USER", "you")
    return (
        f"From another machine, first: ssh -L {port}:127.0.0.1:{port} {user}@{socket.gethostname()}\n"
        "Ctrl-C ends the server and every console of it."
    )
