"""Model folders with spoilt headers, configs, indexes and manifests: a sentence, or a sane description."""

import json
import struct
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fqconsole.demo import materialize
from fqconsole.errors import OperatorError
from fqconsole.models import describe, resolve_model
from fqconsole.models.safetensors_header import parse_header, read_header
from fqconsole.models.weight_files import weight_map
from quantizer.manifest import MANIFEST, read_manifest
from tests.hostile.mutations import DEEP, spoilt_bytes, spoilt_json

FEW = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
ENTRY = {"dtype": "F16", "shape": [4, 8], "data_offsets": [0, 64]}
HEADER = {
    "__metadata__": {"format": "pt"},
    "model.a.weight": ENTRY,
    "model.b.weight": ENTRY | {"data_offsets": [64, 128]},
}
CONFIG = json.loads((materialize("demo") / "config.json").read_text())
MOE = json.loads((materialize("demo-moe") / "config.json").read_text())
INDEX = {
    "metadata": {"total_size": 8},
    "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "b.safetensors"},
}


def told(error):
    """An error is a sentence, short enough to be read. (What it quotes is escaped where it is printed.)"""
    text = str(error.value if hasattr(error, "value") else error)
    assert text.strip()
    assert len(text) < 30_000


@FEW
@given(spoilt_json(HEADER), st.integers(0, 300))
def test_a_spoilt_header_is_refused_or_true(header, file_size):
    try:
        tensors = parse_header(header, file_size, "x.safetensors")
    except OperatorError as error:
        told(error)
    else:
        assert all(8 + len(header) <= tensor.start <= tensor.end <= file_size for tensor in tensors)


@FEW
@given(spoilt_bytes(struct.pack("<Q", len(json.dumps(HEADER))) + json.dumps(HEADER).encode() + bytes(128)))
def test_a_spoilt_safetensors_file_is_refused_or_true(tmp_path, data):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    try:
        tensors = read_header(path)
    except OperatorError as error:
        told(error)
    else:
        assert sum(tensor.end - tensor.start for tensor in tensors) < len(data)


@pytest.mark.parametrize("promised", [100 << 30, 2**63, 99_999_999])
@pytest.mark.parametrize("given_bytes", [0, 1, 100])
def test_a_few_bytes_that_promise_gigabytes_are_refused_before_anything_is_allocated(
    tmp_path, promised, given_bytes
):
    path = tmp_path / "model.safetensors"
    path.write_bytes((struct.pack("<Q", promised) + b"{" * given_bytes)[: 8 + given_bytes - 1])
    tracemalloc.start()
    with pytest.raises(OperatorError) as error:
        read_header(path)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    told(error)
    assert used < 1 << 20


@FEW
@given(spoilt_json(CONFIG) | spoilt_json(MOE))
def test_a_spoilt_config_is_refused_or_described(tmp_path, config):
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    source = materialize("demo") / "model.safetensors"
    if not (folder / "model.safetensors").exists():
        (folder / "model.safetensors").symlink_to(source)
    (folder / "config.json").write_bytes(config)
    try:
        described = describe(resolve_model(str(folder)))
    except OperatorError as error:
        told(error)
    else:
        assert described.parameters > 0
        assert 1 <= described.layers <= 10_000


@FEW
@given(spoilt_json(INDEX))
def test_a_spoilt_index_names_no_file_elsewhere(index):
    try:
        found = weight_map(index, "folder")
    except OperatorError as error:
        told(error)
    else:
        for name in found.values():
            assert name.endswith(".safetensors")
            assert not name.startswith("/")
            assert ".." not in name.split("/")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    from quantizer.engine import analyse, quantize

    out = tmp_path_factory.mktemp("quantized") / "demo-int4"
    description = describe(resolve_model("demo"))
    quantize(description, analyse(description, bits=4, device="cpu"), out, device="cpu")
    return json.loads((out / MANIFEST).read_text())


@FEW
@given(data=st.data())
def test_a_spoilt_manifest_is_refused_or_read(tmp_path, manifest, data):
    small = manifest | {"matrices": manifest["matrices"][:2]}
    small["plan"] = manifest["plan"] | {"matrices": manifest["plan"]["matrices"][:2]}
    spoilt = data.draw(spoilt_json(small))
    (tmp_path / MANIFEST).write_bytes(spoilt)
    try:
        found = read_manifest(tmp_path)
    except OperatorError as error:
        told(error)
    else:
        assert found is not None


@pytest.mark.parametrize("bracket", [b"[", b'{"a":'])
def test_a_document_too_deep_for_a_parser_is_a_sentence_everywhere(tmp_path, bracket):
    deep = bracket * (DEEP * 40)
    (tmp_path / MANIFEST).write_bytes(deep)
    with pytest.raises(OperatorError) as error:
        read_manifest(tmp_path)
    told(error)
    with pytest.raises(OperatorError) as error:
        weight_map(deep, "folder")
    told(error)
    with pytest.raises(OperatorError) as error:
        parse_header(deep, len(deep) + 8, "x.safetensors")
    told(error)
