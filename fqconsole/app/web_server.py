"""The console in a browser: a page with a terminal, and a console process for each window of it.

textual-serve carries keys and pictures between page and process; the page and the door are our own, so that
nothing is asked of another machine and nobody comes in without the link.
"""

import asyncio
import html
import shlex
import socket
import sys
from collections.abc import Callable, Sequence

from aiohttp import web
from textual_serve.server import Server

from fqconsole.app.web_door import TOKEN, Door

HOST = "127.0.0.1"
MOST_WINDOWS = 4  # each is a process
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>fqconsole</title>
<link rel="stylesheet" href="/static/css/xterm.css">
<script src="/static/js/textual.js"></script>
<style>
@font-face {{ font-family: "Roboto Mono"; src: url("/static/fonts/RobotoMono-VariableFont_wght.ttf"); }}
html, body {{ margin: 0; height: 100%; background: #14181d; color: #d8dee4; font-family: "Roboto Mono"; }}
#terminal {{ height: 100vh; }}
#ended {{ display: none; position: absolute; inset: 0; padding: 4em; background: #14181d; z-index: 9; }}
body.-closed #ended {{ display: block; }}
</style>
</head>
<body>
<div id="terminal" class="textual-terminal"
  data-session-websocket-url="{websocket}" data-font-size="{font}"></div>
<div id="ended">This console has ended. Load the page again for a new one.</div>
</body>
</html>
"""


class ConsoleServer(Server):
    """Serves `command` on loopback. `tell` gets each link for the operator."""

    def __init__(self, command: Sequence[str], port: int, tell: Callable[[str], None]) -> None:
        self.port = port
        super().__init__(f"exec {shlex.join(command)}", host=HOST, port=port)
        self._tell = tell
        self._windows = 0
        self.door = Door(self._tell_link)

    @property
    def link(self) -> str:
        """Opens one window's console; it works once."""
        return f"http://{HOST}:{self.port}/?{TOKEN}={self.door.token}"

    def _tell_link(self) -> None:
        self._tell(self.link)

    def application(self) -> web.Application:
        """The routes behind the door."""
        app = web.Application(middlewares=[self.door.middleware])
        app.add_routes(
            [
                web.get("/", self.handle_index, name="index"),
                web.get("/ws", self.handle_websocket, name="websocket"),
                web.get("/download/{key}", self.handle_download, name="download"),
                web.static("/static", self.statics_path, name="static"),
            ]
        )
        return app

    async def handle_index(self, request: web.Request) -> web.Response:
        """The page; its addresses are those by which the browser came: ssh -L may have changed the port."""
        size = request.query.get("fontsize", "16")
        page = PAGE.format(
            websocket=html.escape(f"ws://{request.host}/ws", quote=True),
            font=size if size.isdigit() else "16",
        )
        return web.Response(text=page, content_type="text/html")

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One window: its console starts here and ends with it."""
        if self._windows >= MOST_WINDOWS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_WINDOWS} windows are open. Close one first.")
        self._windows += 1
        try:
            return await super().handle_websocket(request)
        finally:
            self._windows -= 1

    async def run(self, ended: asyncio.Event) -> None:
        """Serve until `ended` is set; every console ends with the server. Raises OSError for a used port."""
        door = socket.create_server((HOST, self.port))
        self.port = door.getsockname()[1]  # 0 was any free one
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=5.0)
        await runner.setup()
        try:
            await web.SockSite(runner, door).start()
            self._tell_link()
            await ended.wait()
        finally:
            await runner.cleanup()


def console_command(*arguments: str) -> list[str]:
    """How a console process is started: the same Python, with this process's settings in its environment."""
    return [sys.executable, "-m", "fqconsole", *arguments]
