"""Servers that answer with too much, too long or the wrong thing: endpoints and the hub."""

import contextlib
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import HealthCheck, given, settings

from fqconsole.endpoints import client as clients
from fqconsole.endpoints.address import KEY_VARIABLE, parse_address
from fqconsole.endpoints.client import EndpointClient
from fqconsole.endpoints.conversation import converse, has_chat
from fqconsole.endpoints.failure import EndpointError
from fqconsole.errors import OperatorError
from fqconsole.generation.options import Sampling
from fqconsole.models import describe_hub
from fqconsole.models.download import download
from tests.hostile.mutations import DEEP, spoilt_json
from tests.hostile.test_spoilt_models import told

SECRET = "sk-tell-nobody"
FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
CHUNK = {
    "id": "x",
    "choices": [{"index": 0, "delta": {"content": "a"}, "text": "a", "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
}
MODELS = {"object": "list", "data": [{"id": "words", "max_model_len": 8}]}
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


class Puppet(ThreadingHTTPServer):
    """Sends `pieces` raw to whoever asks anything, and notes the headers it got in `seen`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pieces, self.seen = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_arguments):
        """Nothing on stderr."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, dict(self.headers)))
        with contextlib.suppress(OSError):
            for piece in self.server.pieces:
                self.wfile.write(piece)

    def do_GET(self):
        self.do_POST()

    def do_HEAD(self):
        self.do_POST()


@contextlib.contextmanager
def running():
    server = Puppet()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def puppet():
    with running() as server:
        yield server


@pytest.fixture
def endpoint(puppet, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    puppet.seen.clear()
    return EndpointClient(parse_address(f"{puppet.url}/v1"))


def converse_with(endpoint):
    return converse(
        endpoint, "words", Sampling(), prompt="hi", messages=None,
        stop=lambda: False, on_text=lambda *_told: None,
    )  # fmt: skip


def all_of(endpoint):
    """Everything that a session does with a server; each part ends with a sentence or an answer."""
    for ask in (endpoint.models, lambda: has_chat(endpoint, "words"), lambda: converse_with(endpoint)):
        try:
            ask()
        except EndpointError as error:
            told(error)
            assert SECRET not in str(error)


@FEW
@given(data=spoilt_json(CHUNK))
def test_a_spoilt_event_is_an_answer_or_a_sentence(puppet, endpoint, data):
    puppet.pieces = [HEAD + b"Content-Type: text/event-stream\r\n\r\ndata: ", data, b"\n\ndata: [DONE]\n\n"]
    try:
        found = converse_with(endpoint)
    except EndpointError as error:
        told(error)
    else:
        assert isinstance(found.text, str)


@FEW
@given(data=spoilt_json(MODELS))
def test_a_spoilt_list_of_models_is_a_list_or_a_sentence(puppet, endpoint, data):
    puppet.pieces = [HEAD + b"\r\n", data]
    try:
        found = endpoint.models()
    except EndpointError as error:
        told(error)
    else:
        assert all(isinstance(model.name, str) and len(model.name) < 10_000 for model in found)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x1b[2J\x00\xff",
        b"HTTP/1.1 999 \x1b[2J\r\n\r\n",
        b"HTTP/1.1 -1 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 500 x\r\n\r\n\x1b[2J[bold]",
        HEAD + b"\r\n" + b"[" * (DEEP * 40),
        HEAD + b"\r\ndata: " + b'{"choices":' * (DEEP * 10) + b"\n\n",
    ],
)
def test_what_is_no_answer_at_all_is_a_sentence(puppet, endpoint, head):
    puppet.pieces = [head]
    all_of(endpoint)
    with pytest.raises(EndpointError):
        converse_with(endpoint)


@pytest.mark.parametrize(
    "line",
    [b"x" * 65536, b": keep on\n" * 3000, b'data: {"choices":[]}\n' * 3000],
    ids=["one line", "comments", "events"],
)
def test_a_stream_without_an_end_is_ended_within_bounded_memory(puppet, endpoint, monkeypatch, line):
    monkeypatch.setattr(clients, "ANSWER_AT_MOST", 2**20)
    puppet.pieces = [HEAD + b"\r\n", *([line] * (2**22 // len(line)))]
    tracemalloc.start()
    with pytest.raises(EndpointError, match="no answer"):
        converse_with(endpoint)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 2**23


def test_a_body_without_an_end_is_read_no_further_than_a_body_may_be(puppet, endpoint):
    puppet.pieces = [HEAD + b"\r\n", *([b"x" * 65536] * (2 * clients.BODY_AT_MOST // 65536))]
    with pytest.raises(EndpointError, match="no answer"):
        endpoint.models()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["{other}/v1/models", "file:///etc/passwd", "//evil.example/", "\x1b[2J"])
def test_no_redirect_is_followed_and_no_token_leaves(puppet, endpoint, status, to):
    with running() as other:
        target = to.format(other=other.url)
        puppet.pieces = [f"HTTP/1.1 {status} x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()]
        all_of(endpoint)
        with pytest.raises(EndpointError, match="elsewhere"):
            endpoint.models()
        assert other.seen == []
    assert all(headers["Authorization"] == f"Bearer {SECRET}" for _, headers in puppet.seen)


HUB_TOKEN = "hf_ThisTokenMustReachNobodyElse"
INFO = {
    "id": "org/model", "sha": "0" * 40, "private": False, "tags": [], "downloads": 0,
    "cardData": {"license": "mit"},
    "siblings": [{"rfilename": name, "size": 9} for name in ("config.json", "model.safetensors")],
}  # fmt: skip
JSON = b"Content-Type: application/json\r\n\r\n"


@pytest.fixture
def hub(puppet, monkeypatch):
    """The puppet is the hub, and there is a login."""
    monkeypatch.setenv("HF_ENDPOINT", puppet.url)
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    puppet.seen.clear()
    return puppet


def refused_by_the_hub():
    """What is asked of the hub ends with a sentence."""
    for ask in (
        lambda: describe_hub("org/model"),
        lambda: download("org/model", None, lambda *_: None, lambda: False),
    ):
        with pytest.raises(OperatorError) as error:
            ask()
        told(error)
        assert HUB_TOKEN not in str(error.value)


@settings(FEW, max_examples=30)
@given(data=spoilt_json(INFO))
def test_spoilt_information_of_the_hub_is_a_sentence(hub, data):
    hub.pieces = [HEAD + JSON, data]
    refused_by_the_hub()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        HEAD + JSON + b"[" * (DEEP * 10),
        HEAD + JSON + b"null",
        HEAD + JSON + b"[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n" + JSON + b"{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + JSON + b"ffffffffffffffffff\r\nx",
        b"HTTP/1.1 404 \x1b[2J\r\nX-Error-Message: \x1b[2J\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/-5\r\n\r\n{}",
    ],
)
def test_what_is_no_answer_of_a_hub_is_a_sentence(hub, answer):
    hub.pieces = [answer]
    refused_by_the_hub()


@pytest.mark.parametrize("to", ["{other}/x", "file:///etc/passwd", "\x1b[2J", "{here}/again"])
def test_the_login_of_the_hub_follows_no_redirect_to_another_host(hub, to):
    with running() as other:
        other.pieces = [b"HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n"]
        target = to.format(other=other.url.replace("127.0.0.1", "localhost"), here=hub.url)
        hub.pieces = [f"HTTP/1.1 302 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()]
        refused_by_the_hub()
        assert HUB_TOKEN in str(hub.seen)
        assert HUB_TOKEN not in str(other.seen)
