"""Malformed, huge and sly requests to `fqconsole api`: 4xx in OpenAI's shape, and it goes on serving."""

import asyncio
import contextlib
import json
import resource

import pytest

pytest.importorskip("starlette", reason="the extra [api] is not installed")
pytest.importorskip("uvicorn", reason="the extra [api] is not installed")

from fqconsole.api.application import BODY_AT_MOST
from tests.api.conftest import TOKEN, serve  # noqa: F401 - a fixture
from tests.hostile.mutations import DEEP

GOOD = {"model": "tiny", "prompt": "one two", "max_tokens": 3}
KEY = f"Authorization: Bearer {TOKEN}"


async def send(server, lines, body=b"", *, length=None, host="127.0.0.1"):
    """(status, body) of one raw request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.getsockname()[1])
    head = [*lines[:1], f"Host: {host}", *lines[1:], "Connection: close"]
    if body or length is not None:
        head.append(f"Content-Length: {len(body) if length is None else length}")
    with contextlib.suppress(ConnectionError):  # refused before it was read to its end
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        await writer.drain()
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await reader.read(2**20)
    writer.close()
    top, _, rest = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]) if top else 0, rest


def post(path="/v1/completions", *more):
    return [f"POST {path} HTTP/1.1", KEY, "Content-Type: application/json", *more]


def in_openais_shape(status, body):
    assert 400 <= status < 500, (status, body)
    error = json.loads(body)["error"]
    assert error["message"].strip()
    assert len(error["message"]) < 2000
    assert {"message", "type", "param", "code"} == set(error)
    assert b"Traceback" not in body


BODIES = (
    b"", b"null", b"[]", b"\xff", b"{", b"[" * (DEEP * 10), b'{"a":' * (DEEP * 10), b"9" * 5000,
    b'{"model":"tiny","prompt":"\\ud800"}',
    b'{"model":"tiny","prompt":"a","max_tokens":1e999}',
    b'{"model":"tiny","prompt":"a","temperature":NaN}',
    b'{"model":"\\u001b[2J","prompt":"a"}',
    *(json.dumps(GOOD | spoilt).encode() for spoilt in (
        {"model": "x" * 100_000}, {"model": {}}, {"prompt": [[1, 2]]}, {"prompt": ["a"] * 1000},
        {"max_tokens": -1}, {"max_tokens": 2**70}, {"seed": -(2**70)}, {"seed": 2**64}, {"stop": [""]},
        {"stop": ["a", 1]}, {"temperature": -1}, {"temperature": "hot"}, {"top_k": 10**30}, {"n": 10**9},
        {"prompt": 7},
        {"best_of": 10**9}, {"logit_bias": {"1": 100}}, {"stream_options": []}, {"min_p": 2},
    )),
)  # fmt: skip
CHATS = (
    [], [{}], [{"role": "root", "content": "a"}], [{"role": "user"}], [{"role": "user", "content": {}}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
    [{"role": "user", "content": [{"type": "text"}]}], ["a"], "a",
)  # fmt: skip


async def test_bodies_that_are_no_question(serve):  # noqa: F811
    here = (await serve()).server
    for body in BODIES:
        in_openais_shape(*await send(here, post(), body))
    for messages in CHATS:
        body = json.dumps({"model": "tiny", "messages": messages}).encode()
        in_openais_shape(*await send(here, post("/v1/chat/completions"), body))
    assert (await send(here, post(), json.dumps(GOOD).encode()))[0] == 200


PLACES = (
    "/", "/v1", "/v1/../v1/models/..", "/..%2f..%2fetc/passwd", "//evil.example/v1/models",
    "/v1/models/../../etc",
    "/v1/models/%1b%5b2J", "/v1/models/%ff", "/v1/models/" + "x" * 20_000, "/v1/models/[bold]", "/docs",
    "/openapi.json", "/v1/files", "/v1/embeddings",
)  # fmt: skip


async def test_paths_and_methods_that_are_not_served(serve):  # noqa: F811
    here = (await serve()).server
    for place in PLACES:
        in_openais_shape(*await send(here, [f"GET {place} HTTP/1.1", KEY]))
    for method in ("DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "EVIL"):
        status, body = await send(here, [f"{method} /v1/models HTTP/1.1", KEY])
        in_openais_shape(status, body)


async def test_who_is_not_let_in(serve):  # noqa: F811
    here = (await serve()).server
    asked = "GET /v1/models HTTP/1.1"
    for lines, host in (
        ([asked], "127.0.0.1"),
        ([f"GET /v1/models?token={TOKEN}&api_key={TOKEN} HTTP/1.1"], "127.0.0.1"),
        ([asked, f"Cookie: token={TOKEN}"], "127.0.0.1"),
        ([asked, f"X-Api-Key: {TOKEN}"], "127.0.0.1"),
        ([asked, KEY + "x"], "127.0.0.1"),
        ([asked, KEY], "evil.example"),
        ([asked, KEY], "127.0.0.1.evil.example"),
        ([asked, KEY, "Origin: https://evil.example"], "127.0.0.1"),
        ([asked, KEY, "Origin: null"], "127.0.0.1"),
        (["GET http://evil.example/v1/models HTTP/1.1", KEY], "evil.example"),
        # A page can send this without asking the browser first.
        (["POST /v1/completions HTTP/1.1", "Content-Type: text/plain"], "127.0.0.1"),
    ):
        status, body = await send(here, lines, host=host)
        in_openais_shape(status, body)
        assert status in {401, 403}
        assert TOKEN.encode() not in body


async def test_a_page_gets_no_leave_to_read_an_answer(serve):  # noqa: F811
    here = (await serve()).server
    lines = ["OPTIONS /v1/completions HTTP/1.1", "Access-Control-Request-Method: POST"]
    status, body = await send(here, [*lines, "Origin: https://evil.example"])
    assert status == 403
    assert b"access-control-allow" not in body.lower()


async def test_forms_are_not_json(serve):  # noqa: F811
    here = (await serve()).server
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"):
        lines = ["POST /v1/completions HTTP/1.1", KEY, f"Content-Type: {kind}"]
        status, body = await send(here, lines, json.dumps(GOOD).encode())
        in_openais_shape(status, body)
        assert status == 415


async def test_huge_bodies_are_refused_and_take_no_memory(serve):  # noqa: F811
    here = (await serve()).server
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        status, _body = await send(here, post(), b" " * (4 * BODY_AT_MOST))
        assert status in {0, 413}  # cut off while it was still writing, or told
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 30 * BODY_AT_MOST
    in_openais_shape(*await send(here, ["POST /v1/completions HTTP/1.1"], b" " * 1000))  # no token: not read


async def test_what_is_no_http_is_refused(serve):  # noqa: F811
    here = (await serve()).server
    for lines in (
        ["\x1b[2J"],
        ["GET / HTTP/9.9"],
        ["GET /" + "x" * 200_000 + " HTTP/1.1", KEY],
        ["GET /v1/models HTTP/1.1", KEY, "Content-Length: -1"],
        ["GET /v1/models HTTP/1.1", KEY, "X: " + "y" * 200_000],
    ):
        status, body = await send(here, lines)
        assert status in {0, *range(400, 500)}, lines[0][:40]
        assert b"Traceback" not in body
    assert (await send(here, ["GET /health HTTP/1.1"]))[0] == 200


async def test_many_connections_that_say_nothing_keep_nobody_out(serve):  # noqa: F811
    here = (await serve()).server
    port = here.listener.getsockname()[1]
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
    for _, writer in idle:
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: ")
    assert (await send(here, post(), json.dumps(GOOD).encode()))[0] == 200
    for _, writer in idle:
        writer.close()


async def test_a_body_that_never_ends_is_refused(serve, monkeypatch):  # noqa: F811
    monkeypatch.setattr("fqconsole.api.application.BODY_SECONDS", 0.05)
    here = (await serve()).server
    status, body = await send(here, post(), b"{}", length=10**15)
    in_openais_shape(status, body)
    assert status == 408
