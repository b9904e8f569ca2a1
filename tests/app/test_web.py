"""The console in a browser: who is let in, and the life of a window."""

import asyncio

import psutil
import pyte
import pytest

pytest.importorskip("textual_serve", reason="the extra [serve] is not installed")

import aiohttp
from aiohttp.test_utils import TestClient, TestServer

from fqconsole.app.web_door import host_name
from fqconsole.app.web_server import MOST_WINDOWS, ConsoleServer, console_command

WAIT = 60.0  # seconds; a loaded machine is slow


class Served:
    """A server with its client; `links` are those the operator was told."""

    def __init__(self, command=("true",)):
        self.links = []
        self.server = ConsoleServer(command, 0, self.links.append)
        self.client = TestClient(
            TestServer(self.server.application()), cookie_jar=aiohttp.CookieJar(unsafe=True)
        )

    async def __aenter__(self):
        await self.client.start_server()
        return self

    async def __aexit__(self, *_):
        await self.client.close()

    @property
    def origin(self):
        return str(self.client.make_url("/")).rstrip("/")

    async def status(self, path="/", **options):
        async with self.client.get(path, **options) as response:
            return response.status

    async def enter(self):
        token = self.server.door.token
        assert await self.status(f"/?token={token}") == 200
        return token


async def test_nothing_is_shown_without_the_link():
    async with Served() as served:
        for path in ("/", "/ws", "/static/js/textual.js", "/download/x", "/?token=wrong", "/?token=é"):
            assert await served.status(path) == 403, path
        assert served.links == []


async def test_a_link_works_once_and_leaves_no_token_in_the_address():
    async with Served() as served:
        token = served.server.door.token
        async with served.client.get(f"/?token={token}") as response:
            assert response.status == 200
            assert "token" not in str(response.url)
            assert 'src="/static/js/textual.js"' in await response.text()
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert len(served.links) == 1 and token not in served.links[0]
        assert await served.status() == 200  # the same browser goes on
        assert await served.status(f"/?token={token}") == 403
        served.client.session.cookie_jar.clear()
        assert await served.status() == 403


async def test_the_page_asks_nothing_of_another_machine():
    async with Served() as served:
        await served.enter()
        async with served.client.get("/") as response:
            page = await response.text()
        assert page.count("http://") == page.count("https://") == 0
        assert f'"ws://{served.origin.removeprefix("http://")}/ws"' in page


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8712"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_foreign_names_and_pages_are_refused_even_with_the_link(headers):
    async with Served() as served:
        await served.enter()
        assert await served.status(headers=headers) == 403
        assert await served.status(f"/?token={served.server.door.token}", headers=headers) == 403


@pytest.mark.parametrize("origin", [None, "http://evil.example"])
async def test_a_window_must_come_from_our_page(origin):
    async with Served() as served:
        await served.enter()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await served.client.ws_connect("/ws", origin=origin)
        assert refused.value.status == 403


async def test_windows_are_few():
    async with Served() as served:
        await served.enter()
        served.server._windows = MOST_WINDOWS
        assert await served.status("/ws") == 503


@pytest.mark.parametrize(
    ("host", "name"), [("localhost:8712", "localhost"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a", "a")]
)
def test_the_name_in_a_host_header(host, name):
    assert host_name(host) == name


async def seen(window, screen, words):
    """Wait until the words stand on the screen."""
    stream = pyte.ByteStream(screen)
    async with asyncio.timeout(WAIT):
        while words not in "\n".join(screen.display):
            message = await window.receive()
            assert message.type is not aiohttp.WSMsgType.CLOSED, "\n".join(screen.display)
            if message.type is aiohttp.WSMsgType.BINARY:
                stream.feed(message.data)


@pytest.mark.slow
async def test_a_console_lives_as_long_as_its_window(monkeypatch):
    monkeypatch.setenv("FQCONSOLE_SERVED", "1")
    async with Served(console_command("replay")) as served:
        await served.enter()
        window = await served.client.ws_connect("/ws?width=80&height=24", origin=served.origin)
        screen = pyte.Screen(80, 24)
        await seen(window, screen, "REPLAY")
        await window.send_json(["stdin", "6"])
        await seen(window, screen, "[6 GPUs]")
        consoles = [child for child in psutil.Process().children() if "fqconsole" in child.cmdline()]
        assert len(consoles) == 1
        await window.close()
        _gone, alive = await asyncio.to_thread(psutil.wait_procs, consoles, WAIT)
        assert alive == []
