"""A server on loopback whose worker is real and whose model is a stand-in."""

import asyncio
from importlib.util import find_spec

import pytest

from fqconsole import paths
from fqconsole.jobs.messages import StartSession
from tests.jobs.conftest import STAND_IN

# The api extra is not everywhere.
NEEDED = ("starlette", "uvicorn", "openai")
collect_ignore_glob = ["test_*.py"] if any(find_spec(name) is None for name in NEEDED) else []

TOKEN = "test-token"


class Running:
    """A server and what it said of its answers."""

    async def end(self):
        """What Ctrl-C does."""
        self.server.end()
        await self.task
        self.server.close()

    def __init__(self, server):
        self.server = server
        self.answered = []
        self.ready = asyncio.Event()
        self.task = None

    @property
    def url(self):
        return self.server.url


@pytest.fixture
async def serve():
    """`await serve(chat=True)` is a server that answers; it is ended afterwards."""
    from fqconsole.api.ledger import NoLedger
    from fqconsole.api.server import ApiServer, open_listener

    running = []

    async def begin(*, chat=True, token=TOKEN, ledger=None):
        server = ApiServer(
            start=StartSession(model_path="/m/chat" if chat else "/m"),
            name="tiny",
            listener=open_listener(0),
            ledger=ledger or NoLedger(),
            token=token,
            command=STAND_IN,
        )
        here = Running(server)
        server.on_ready = here.ready.set
        server.on_answer = here.answered.append
        here.task = asyncio.create_task(server.run([]))
        ready = asyncio.create_task(here.ready.wait())
        await asyncio.wait([here.task, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        running.append(here)
        return here

    yield begin
    for here in running:
        if here.server.listener.fileno() != -1:
            await here.end()


@pytest.fixture
def store_ledger(tmp_path):
    """A ledger on a store of its own."""
    from fqconsole.api.ledger import StoreLedger

    keeping = {"model_path": tmp_path, "model_id": "tiny", "context": None, "device": "cpu"}
    return StoreLedger(
        paths.store_file(),
        {**keeping, "predicted": {}, "predicted_gpu": None},
        complain=pytest.fail,
    )
