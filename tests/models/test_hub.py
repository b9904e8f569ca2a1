"""Describing and downloading hub models, against a small hub on this machine."""

import json

import pytest

from fqconsole.errors import OperatorError, UsageError
from fqconsole.models import HubError, ModelError, describe, describe_hub, list_models, resolve_model
from fqconsole.models.download import DownloadCancelled, download
from fqconsole.models.hub_cache import cache_folder
from tests.models.checkpoints import LLAMA, llama_shapes, safetensors_bytes
from tests.models.fake_hub import COMMIT, FakeHub, running

WHOLE = {
    "config.json": json.dumps(LLAMA).encode(),
    "model.safetensors": safetensors_bytes(llama_shapes()),
    "tokenizer.json": b"{}",
    "README.md": b"a card",
    "pytorch_model.bin": b"pickled",
    "modeling_evil.py": b"import os",
    "onnx/model.onnx": b"other",
}


def sharded(count=3, big_header=False):
    shapes = dict(llama_shapes())
    if big_header:  # more names than one first read holds
        shapes |= {f"model.layers.0.extra.{'x' * 100}.{number}": ("U8", (1,)) for number in range(1000)}
    files = {"config.json": json.dumps(LLAMA).encode()}
    weight_map = {}
    for number in range(count):
        name = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        part = {
            tensor: shape for place, (tensor, shape) in enumerate(shapes.items()) if place % count == number
        }
        files[name] = safetensors_bytes(part)
        weight_map.update(dict.fromkeys(part, name))
    files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    return files


@pytest.fixture
def hub(monkeypatch):
    models = {
        "org/whole": WHOLE,
        "org/sharded": sharded(),
        "org/big-header": sharded(1, big_header=True),
        "org/pickled": {"config.json": WHOLE["config.json"], "pytorch_model.bin": b"pickled"},
        "org/no-config": {"model.safetensors": WHOLE["model.safetensors"]},
        "org/cut": {**WHOLE, "model.safetensors": WHOLE["model.safetensors"][:-2]},
        "gated/model": WHOLE,
    }
    with running(FakeHub(models)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield server


def fetch(model_id, cancelled=lambda: False):
    seen = []
    return download(model_id, None, lambda done, total: seen.append((done, total)), cancelled), seen


def test_offline_is_a_sentence_and_not_a_wait():
    for ask in (lambda: describe_hub("org/whole"), lambda: fetch("org/whole")):
        with pytest.raises(HubError, match="Offline") as caught:
            ask()
        assert "HF_HUB_OFFLINE" in caught.value.next_step


@pytest.mark.parametrize("model_id", ["org/whole", "org/sharded"])
def test_a_model_is_described_before_any_download(hub, model_id):
    model = describe_hub(model_id)
    assert (model.id, model.source, model.path, model.revision) == (model_id, "hub", None, COMMIT)
    assert model.license == "mit"
    assert {tensor.name: tensor.shape for tensor in model.tensors} == {
        name: tuple(shape) for name, (_, shape) in llama_shapes().items()
    }
    assert model.bytes == 2 * model.parameters
    assert not cache_folder().exists()
    assert not any("pytorch_model" in request for request in hub.requests)


def test_only_the_headers_travel(hub):
    payload = {"model.embed_tokens.weight": ("BF16", (1 << 14, 1 << 10))}  # 32 MiB
    hub.models["org/large"] = {**WHOLE, "model.safetensors": safetensors_bytes(payload)}
    for hub.ranges in (True, False):
        hub.sent = 0
        assert describe_hub("org/large").bytes == 1 << 25
        assert hub.sent < 1 << 24


def test_a_header_larger_than_the_first_read(hub):
    assert len(describe_hub("org/big-header").tensors) == len(llama_shapes()) + 1000
    hub.ranges = False
    assert len(describe_hub("org/big-header").tensors) == len(llama_shapes()) + 1000


@pytest.mark.parametrize(
    ("model_id", "kind", "says"),
    [
        ("org/nowhere", HubError, "has no model org/nowhere"),
        ("private/model", HubError, "has no model private/model"),
        ("gated/model", HubError, "gated"),
        ("org/pickled", ModelError, "pickle"),
        ("org/no-config", ModelError, r"no config\.json"),
        ("org/cut", ModelError, "truncated"),
        ("not an id", UsageError, "no hub id"),
        ("../../etc/passwd", UsageError, "no hub id"),
        ("a/b/c", UsageError, "no hub id"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_can_go_wrong_is_a_sentence(model_id, kind, says):
    with pytest.raises(kind, match=says) as caught:
        describe_hub(model_id)
    assert caught.value.next_step


def test_unknown_revision(hub):
    del hub
    with pytest.raises(HubError, match="no such revision"):
        describe_hub("org/whole", "v9")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_in_trouble(hub, status):
    hub.status = status
    with pytest.raises(HubError, match=f"HTTP {status}"):
        describe_hub("org/whole")


def test_no_network(hub, monkeypatch):
    del hub
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="can't be reached"):
        describe_hub("org/whole")


def test_a_download_brings_what_is_needed_and_nothing_that_runs(hub):
    folder, seen = fetch("org/whole")
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "README.md",
    }  # fmt: skip
    total = sum(len(WHOLE[path.name]) for path in folder.iterdir())
    assert seen[-1] == (total, total)
    assert all(0 <= done <= total for done, _ in seen)
    assert not any("evil" in request or "onnx" in request for request in hub.requests)
    (entry,) = [entry for entry in list_models() if entry.source == "cache"]
    assert (entry.id, entry.revision, entry.problem) == ("org/whole", COMMIT, None)
    assert describe(resolve_model("org/whole")).layers == 2


def test_a_cancelled_download_ends_soon_and_the_next_one_goes_on(hub):
    large = {"model.embed_tokens.weight": ("BF16", (3 << 12, 1 << 10))}  # 24 MiB, in chunks of 10 MB
    weights = safetensors_bytes(large)
    hub.models["org/large"] = {"config.json": WHOLE["config.json"], "model.safetensors": weights}
    hub.hold.clear()  # the server stops half way
    with pytest.raises(DownloadCancelled) as caught:
        fetch("org/large", lambda: hub.sent >= len(weights) // 2)
    assert caught.value.code == "cancelled"
    hub.hold.set()
    hub.sent = 0
    folder, seen = fetch("org/large")
    assert (folder / "model.safetensors").read_bytes() == weights
    assert describe(resolve_model("org/large")).bytes == 3 << 23
    assert seen[-1][0] == seen[-1][1] > len(weights)


@pytest.mark.parametrize(
    ("model_id", "says"),
    [("org/pickled", "pickle"), ("gated/model", "gated"), ("org/nowhere", "has no model")],
)
@pytest.mark.usefixtures("hub")
def test_a_download_that_can_not_be(model_id, says):
    with pytest.raises(OperatorError, match=says):
        fetch(model_id)


def test_a_full_disk_is_seen_before_anything_is_fetched(hub, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 100})())
    with pytest.raises(OperatorError, match="GiB free"):
        fetch("org/whole")
    assert not any("resolve" in request for request in hub.requests)
