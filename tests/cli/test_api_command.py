"""`fqconsole api` as a process: it answers with the token only, is recorded, and ends in order."""

import http.client
import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fqconsole import paths
from fqconsole.cli.api import TOKEN_VARIABLE, answer_line, token_for
from store import Store

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    find_spec("starlette") is None or find_spec("uvicorn") is None, reason="the api extra is not installed"
)


def ask(address, path, body, token):
    """Status and document of one POST."""
    host = address.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


@pytest.mark.slow
def test_a_model_is_served_and_recorded_and_ends_with_its_worker(home):
    command = [sys.executable, "-m", "fqconsole", "api", "demo", "--port", "0", "--json", "--device", "cpu"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        ready = json.loads(process.stdout.readline())
        body = {"model": ready["model"], "prompt": "Once there was", "max_tokens": 5, "temperature": 0}
        assert ask(ready["url"], "/v1/completions", body, "wrong")[0] == 401
        status, answer = ask(ready["url"], "/v1/completions", body, ready["token"])
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert status == 200
    assert answer["usage"]["completion_tokens"] == 5
    assert process.returncode == 130
    with Store.open(paths.store_file()) as store:
        (run,) = [store.run(row.run_id) for row in store.list_runs()]
    assert run.row.status == "done"
    assert run.generation.output == answer["choices"][0]["text"]
    assert run.row.run_id in told
    assert ready["token"] not in told
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert [path for path in kept if ready["token"].encode() in path.read_bytes()] == []


def test_a_port_that_is_taken_is_told_before_the_model_is_loaded(fq):
    from fqconsole.api.server import open_listener

    with open_listener(0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        said = fq("api", "demo", "--port", port, "--device", "cpu")
    assert said.code == 2
    assert f"Port {port}" in said.err


def test_a_token_of_the_operators_is_taken_and_not_printed(monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "mine")
    assert token_for(wanted=True) == ("mine", False)
    assert token_for(wanted=False) == (None, False)
    monkeypatch.delenv(TOKEN_VARIABLE)
    made = {token_for(wanted=True) for _ in range(3)}
    assert len(made) == 3
    assert all(fresh and len(token) >= 32 for token, fresh in made)


def test_without_the_extra_the_command_says_what_to_type(fq, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = fq("api", "demo")
    assert said.code == 2
    assert "pip install" in said.err
    assert '"starlette>=' in said.err


def test_the_line_of_an_answer_tells_no_text():
    from fqconsole.api.application import Answered
    from fqconsole.jobs.messages import GenerationDone

    done = GenerationDone(
        t=0.0,
        run_id="r0001",
        text="SECRET",
        token_ids=(1, 2, 3),
        prompt_tokens=4,
        ttft_ms=1.0,
        prefill_tok_s=1.0,
        decode_tok_s=150.0,
        peak_bytes=1,
        stop_reason="length",
    )
    line = answer_line(Answered("r0001", "chat", done))
    assert line == "r0001  chat: 4 → 3 tokens, decode 150 tok/s, ended by length"
    assert answer_line(Answered("", "chat", None, "the client left")) == "-  chat: the client left"
