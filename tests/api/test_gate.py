"""Who gets past the gate: names of this machine, no foreign page, the right token."""

import json

import pytest

from fqconsole.api.gate import Gate

SECRET = "secret"
RIGHT = {"host": "127.0.0.1:8080", "authorization": f"Bearer {SECRET}"}


async def ask(headers, *, token=SECRET, path="/v1/models"):
    """The status that a request gets (200: let through) and the error in its body."""
    sent = []

    async def inner(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b""}

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": path, "headers": raw}
    await Gate(inner, token)(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080"])
async def test_names_of_this_machine_pass(host):
    assert (await ask({**RIGHT, "host": host}))[0] == 200


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1.evil.example:80", "localhost@evil.example", "[::1"]
)
async def test_other_names_are_refused_as_dns_rebinding_would_use_them(host):
    status, body = await ask({**RIGHT, "host": host})
    assert status == 403
    assert body["error"]["type"] == "permission_error"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example"])
async def test_web_pages_are_refused_with_a_token_too(origin):
    assert (await ask({**RIGHT, "origin": origin}))[0] == 403
    assert (await ask({**RIGHT, "origin": origin}, token=None))[0] == 403


async def test_a_page_of_this_machine_passes():
    assert (await ask({**RIGHT, "origin": "http://localhost:3000"}))[0] == 200


@pytest.mark.parametrize(
    "given", ["Bearer wrong", "secret", "Basic secret", "Bearer", "Bearer s\xe9cret", ""]
)
async def test_without_the_token_nothing_is_answered(given):
    status, body = await ask({**RIGHT, "authorization": given})
    assert status == 401
    assert body["error"]["code"] == "invalid_api_key"
    assert "secret" not in json.dumps(body)


async def test_health_needs_no_token_but_the_right_host():
    assert (await ask({"host": "localhost"}, path="/health"))[0] == 200
    assert (await ask({"host": "evil.example"}, path="/health"))[0] == 403
