"""The header parser: exact on good files, one sentence on any other."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.errors import OperatorError
from fqconsole.models import ModelError
from fqconsole.models.safetensors_header import DTYPE_BITS, MAX_HEADER_BYTES, parse_header, read_header
from tests.models.checkpoints import safetensors_bytes


def written(tmp_path, data):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    return path


def with_header(entries, payload):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(payload)


def test_offsets_count_from_the_start_of_the_file(tmp_path):
    data = safetensors_bytes({"a": ("BF16", (2, 3)), "b": ("I64", (2,))}, {"b": bytes(range(16))})
    first, second = read_header(written(tmp_path, data))
    assert (first.name, first.dtype, first.shape, first.bytes, first.elements) == ("a", "BF16", (2, 3), 12, 6)
    assert data[second.start : second.end] == bytes(range(16))
    assert first.file == "model.safetensors"


def test_agrees_with_the_library(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "model.safetensors"
    tensors = {
        "x": numpy.ones((3, 5), numpy.float32),
        "y": numpy.zeros((0, 4), numpy.float16),
        "z": numpy.int8([7]),
    }
    safetensors.save_file(tensors, path)
    found = {tensor.name: tensor for tensor in read_header(path)}
    assert {name: tensor.shape for name, tensor in found.items()} == {"x": (3, 5), "y": (0, 4), "z": (1,)}
    data = path.read_bytes()
    assert data[found["z"].start : found["z"].end] == b"\x07"


@pytest.mark.parametrize(
    ("entries", "payload", "says"),
    [
        ({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, 12, "truncated: tensor w"),
        ({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, 20, "describes 16 bytes"),
        (
            {"w": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}},
            16,
            "tensor w (F32 5) does not match",
        ),
        ({"w": {"dtype": "F33", "shape": [4], "data_offsets": [0, 16]}}, 16, "unknown dtype F33"),
        ({"w": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}, 16, "tensor w"),
        ({"w": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}, 16, "tensor w"),
        ({"w": {"dtype": "F32", "shape": [4]}}, 16, "tensor w"),
        ({"w": [1, 2]}, 0, "tensor w"),
        ({"w": {"dtype": "U8", "shape": [1] * 40, "data_offsets": [0, 1]}}, 1, "tensor w"),
        (
            {
                "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]},
            },
            6,
            "tensor b overlaps",
        ),
        (
            {
                "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "b": {"dtype": "U8", "shape": [4], "data_offsets": [6, 10]},
            },
            10,
            "tensor b leaves a gap",
        ),
    ],
)
def test_a_lying_header_is_one_sentence_naming_file_and_tensor(tmp_path, entries, payload, says):
    with pytest.raises(ModelError, match=r"model\.safetensors") as caught:
        read_header(written(tmp_path, with_header(entries, payload)))
    assert says in caught.value.what
    assert caught.value.next_step
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "data", [b"", b"\x01\x00", bytes(8), (200).to_bytes(8, "little") + b"{}", b"\xff" * 64]
)
def test_what_is_no_safetensors_file(tmp_path, data):
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        read_header(written(tmp_path, data))


def test_a_huge_promised_header_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as opened:
        opened.write((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
        opened.truncate(MAX_HEADER_BYTES * 4)  # a sparse file
    with pytest.raises(ModelError, match="more than 100 MB"):
        read_header(path)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(ModelError, match="is missing"):
        read_header(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="no regular file"):
        read_header(tmp_path)
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(ModelError, match="no regular file"):
        read_header(tmp_path / "pipe.safetensors")


def test_names_from_the_file_are_shown_without_control_characters(tmp_path):
    entries = {"evil\x1b[2J\n" + "x" * 500: {"dtype": "F32", "shape": [4], "data_offsets": [0, 4]}}
    with pytest.raises(ModelError) as caught:
        read_header(written(tmp_path, with_header(entries, 4)))
    assert "\x1b" not in caught.value.what
    assert "\n" not in caught.value.what
    assert len(caught.value.what) < 300


@given(st.binary(max_size=400))
def test_any_bytes_give_tensors_or_a_sentence(data):
    size = len(data)
    try:
        tensors = parse_header(data, size + 8, "any")
    except OperatorError as failure:
        assert "any" in failure.what
    else:
        assert sum(tensor.bytes for tensor in tensors) == 0  # nothing can follow a header that fills the file


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
entry = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from([*DTYPE_BITS, "F33"]) | json_values,
        "shape": st.lists(st.integers(-1, 5) | st.integers(), max_size=4) | json_values,
        "data_offsets": st.lists(st.integers(-1, 40) | st.integers(), max_size=3) | json_values,
    },
)


@given(st.dictionaries(st.text(max_size=6), entry | json_values, max_size=4), st.integers(0, 64))
def test_any_json_gives_tensors_or_a_sentence(entries, payload):
    text = json.dumps(entries).encode()
    try:
        tensors = parse_header(text, 8 + len(text) + payload, "any")
    except OperatorError:
        return
    assert sum(tensor.bytes for tensor in tensors) == payload
    position = 8 + len(text)
    for tensor in tensors:
        assert tensor.start == position
        assert tensor.elements * DTYPE_BITS[tensor.dtype] == tensor.bytes * 8
        position = tensor.end


shapes = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(["BF16", "F32", "I64", "U8"]), st.lists(st.integers(0, 4), max_size=3)),
    max_size=6,
)


@given(shapes, st.data())
def test_a_good_file_is_read_whole_and_any_cut_of_it_is_refused(wanted, data):
    whole = safetensors_bytes(wanted)
    length = 8 + int.from_bytes(whole[:8], "little")
    found = parse_header(whole[8:length], len(whole), "good")
    assert {tensor.name: tensor.shape for tensor in found} == {n: tuple(s) for n, (_, s) in wanted.items()}
    if len(whole) > length:
        cut = data.draw(st.integers(length, len(whole) - 1))
        with pytest.raises(ModelError):
            parse_header(whole[8:length], cut, "cut")
