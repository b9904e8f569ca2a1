"""Plan files, settings, journals, recordings and job messages, spoilt: a sentence or a sane value."""

import contextlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fqconsole.errors import MALFORMED, OperatorError, UsageError
from fqconsole.jobs.messages import decode_event
from fqconsole.jobs.orders import ProtocolError, read_request
from fqconsole.jobs.recording import read_recording
from fqconsole.models import describe, resolve_model
from fqconsole.settings import load
from quantizer.base import base_plan
from quantizer.journal import JOURNAL, JournalHead, PartRecord, SourceState, WrittenShard, read_journal
from quantizer.plan_file import read_plan_file, schemes_of
from tests.hostile.mutations import DEEP, spoilt_bytes, spoilt_json
from tests.hostile.test_spoilt_models import told

FEW = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
DRAFT = base_plan(describe(resolve_model("demo")), 4)
MATRICES = DRAFT.matrices
PLAN = "\n".join(
    ["format = 1", 'model = "demo"', 'mode = "fast"', 'target = "4 bits"', "[matrices]"]
    + [f'"{matrix.name}" = {{ bits = 4, group = 64 }}' for matrix in MATRICES]
).encode()
SETTINGS = b"""
[screen]
theme = "fqconsole"
ascii = true
[models]
folders = ["/data/models"]
[keys]
"models.open" = "f2"
"""
# Numbers that Python refuses to read, keys below keys, brackets within brackets.
TRAPS = (
    b"a = " + b"9" * 5000,
    b".".join([b"a"] * DEEP) + b" = 1",
    b"a = " + b"[" * DEEP,
    b"[" + b".".join([b"screen"] * DEEP) + b"]\nx = 1",
    b"\xff\xfea = 1",
    b"a = 1\0",
    b'"\\u001b[2J" = 1',
)
GOLDEN = [
    json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[1] / "jobs" / "golden").glob("*.json"))
]
REQUESTS = ("Start", "Send", "Stop", "Pause", "Resume", "Cancel")


def test_the_plan_that_is_spoilt_is_a_plan(tmp_path):
    (tmp_path / "plan.toml").write_bytes(PLAN)
    assert len(schemes_of(read_plan_file(tmp_path / "plan.toml"), MATRICES)) == len(MATRICES)


@FEW
@given(spoilt_bytes(PLAN) | st.sampled_from(TRAPS))
def test_a_spoilt_plan_file_is_refused_or_read(tmp_path, data):
    path = tmp_path / "plan.toml"
    path.write_bytes(data)
    try:
        schemes = schemes_of(read_plan_file(path), MATRICES)
    except UsageError as error:
        told(error)
    else:
        assert {scheme.bits for scheme in schemes.values()} <= {16, 8, 4, 3}


@FEW
@given(spoilt_bytes(SETTINGS) | st.sampled_from(TRAPS))
def test_a_spoilt_settings_file_is_refused_or_read(tmp_path, data):
    path = tmp_path / "config.toml"
    path.write_bytes(data)
    try:
        load(environment={}, file=path)
    except UsageError as error:
        told(error)


HEAD = JournalHead(DRAFT, (SourceState("a.safetensors", 5, 7),), "1.0")
PART = PartRecord(WrittenShard("model-00001.safetensors", 10, "0" * 64), (), None)
LINES = b"".join(msgspec.json.encode(line) + b"\n" for line in (HEAD, PART, PART))


@FEW
@given(spoilt_bytes(LINES))
def test_of_a_spoilt_journal_only_whole_lines_count(tmp_path, data):
    (tmp_path / JOURNAL).write_bytes(data)
    head, records, whole = read_journal(tmp_path)
    assert whole <= len(data)
    assert data[:whole].count(b"\n") == len(records) + (head is not None)


@FEW
@given(st.sampled_from(GOLDEN).flatmap(spoilt_json))
@example(b"[" * (DEEP * 40))
@example(b'{"type":' * (DEEP * 40))
def test_a_spoilt_line_of_a_job_is_no_crash(tmp_path, line):
    with contextlib.suppress(*MALFORMED):
        decode_event(line)
    path = tmp_path / "events.jsonl"
    path.write_bytes(line)
    try:
        read_recording(path)
    except UsageError as error:
        told(error)
    try:
        read_request(line)
    except ProtocolError as error:
        told(error)


@pytest.mark.parametrize("data", TRAPS)
def test_traps_in_a_config_are_sentences(tmp_path, data):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(data)
    (folder / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    with pytest.raises(OperatorError) as error:
        describe(resolve_model(str(folder)))
    told(error)
