"""A stand-in server in a thread of its own."""

import threading

import pytest

from tests.endpoints.stand_in_server import StandIn


@pytest.fixture
def stand_in():
    """`stand_in(key="…")` is a running server; it is shut afterwards."""
    servers = []

    def start(**options):
        server = StandIn(**options)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.over = True
        server.shutdown()
        server.server_close()
        thread.join()
