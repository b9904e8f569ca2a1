"""A checkpoint that benchmarks make up is one that a session opens, with the sizes of its plan."""

import json

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("name", "bits"), [("llama-3-70b", 4), ("qwen3-30b-a3b", 3), ("opt-30b", 8)])
def test_a_session_opens_a_made_up_checkpoint(name, bits, tmp_path):
    pytest.importorskip("torch")
    from benchmarks.random_checkpoint import write_random_checkpoint
    from fqconsole.generation import open_session
    from fqconsole.generation.options import Sampling
    from quantizer.reader import open_checkpoint

    folder = tmp_path / "made"
    size = write_random_checkpoint(name, folder, bits=bits, tiny=True)
    with open_checkpoint(folder) as opened:
        assert {matrix.scheme.bits for matrix in opened.matrices.values()} == {bits}
    assert "quantization_config" in json.loads((folder / "config.json").read_text())
    assert size == sum(_payload(file) for file in folder.glob("*.safetensors"))
    with open_session(folder, device="cpu", context=16) as session:
        assert session.precision == f"int{bits}"
        session.end_tokens = frozenset()
        answer = session.generate([3, 5, 7], Sampling(temperature=0, max_new_tokens=3))
    assert len(answer.token_ids) == 3
    with pytest.raises(FileExistsError):
        write_random_checkpoint(name, folder, bits=bits, tiny=True)


def _payload(file):
    data = file.read_bytes()
    return len(data) - 8 - int.from_bytes(data[:8], "little")
