"""`fqconsole serve-command`: what is printed, refused, and started."""

import json
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.conftest import ends_within
from tests.serving.conftest import checkpoint  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "tests" / "endpoints" / "stand_in_server.py"


def test_the_command_is_the_last_line_and_can_be_copied(fq, checkpoint):  # noqa: F811
    folder = checkpoint("demo", 4).path
    said = fq("serve-command", folder, "--gpus", "2", "--context", "256")
    assert said.code == 0
    words = shlex.split(said.out.splitlines()[-1])
    assert words[:3] == ["vllm", "serve", folder]
    assert words[words.index("--tensor-parallel-size") + 1] == "2"
    assert "Machete" in said.out
    assert said.err == ""


def test_the_document_has_all_of_it(fq, checkpoint):  # noqa: F811
    said = fq("serve-command", checkpoint("demo-moe", 4).path, "--engine", "sglang", "--gpus", "2", "--json")
    found = said.json
    assert (found["engine"], found["tensor_parallel"], found["expert_parallel"]) == ("sglang", 2, True)
    assert found["commands"][0]["words"][:3] == ["python", "-m", "sglang.launch_server"]
    assert {kernel["ampere"] for kernel in found["kernels"]} == {"Marlin"}
    assert found["refusals"] == []
    assert found["weights_bytes_per_gpu"] > 0


def test_what_an_engine_refuses_is_refused_with_exit_code_2_unless_forced(fq, checkpoint):  # noqa: F811
    folder = checkpoint("demo", 3).path
    said = fq("serve-command", folder)
    assert said.code == 2
    assert "int3" in said.err
    assert len(said.err.splitlines()) == 1
    forced = fq("serve-command", folder, "--force")
    assert forced.code == 0
    assert "warning: int3" in forced.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ray"], "several machines"),
        (["--ray", "--nodes", "2", "--engine", "sglang"], "several machines"),
        (["--python", "/x"], "--start"),
        (["--start"], "--python"),
        (["--start", "--python", "/x", "--nodes", "2"], "one machine"),
        (["--engine", "tgi"], "tgi"),
    ],
)
def test_options_that_do_not_go_together_are_told(fq, options, said):
    found = fq("serve-command", "demo", *options)
    assert found.code == 2
    assert said in found.err


@pytest.mark.slow
def test_an_engine_is_started_from_a_named_interpreter_and_ends_with_the_command(tmp_path):
    """The interpreter is a stand-in that serves on the port it is given."""
    mark = tmp_path / "asked"
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" > {mark}\nfor word; do last=$word; done\n'
        f"exec {sys.executable} {SERVER} $last ready_after=1 model=demo\n"
    )
    python.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fqconsole", "serve-command", "demo", "--start", "--json"]
    with subprocess.Popen(
        [*command, "--python", str(python), "--port", str(port)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        ready = json.loads(process.stdout.readline() or "{}")
        assert mark.read_text().startswith("-m vllm.entrypoints.cli.main serve ")
        pid = engine_on(port)
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert ready == {"url": f"http://127.0.0.1:{port}/v1", "model": "demo"}, told
    assert process.returncode == 130
    assert ends_within(pid, 10)


def engine_on(port):
    import psutil

    return next(
        one.pid
        for one in psutil.net_connections("tcp4")
        if one.status == "LISTEN" and one.laddr and one.laddr.port == port
    )
