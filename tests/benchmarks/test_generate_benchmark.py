"""The benchmark of a session: what a token reads, and a row for each precision."""

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["llama-3-8b", "qwen3-30b-a3b"])
def test_each_precision_has_a_row_with_its_limit(name):
    torch = pytest.importorskip("torch")
    from benchmarks.generate import Asked, measure_shape

    asked = Asked(torch.device("cpu"), prompt=8, new=4, batch=1, kv_bits=16, bits=(16, 4))
    lines = list(measure_shape(name, asked, 1e9, tiny=True, peers=True))
    assert [(line.precision, line.path) for line in lines][:2] == [
        ("16-bit", "16-bit"),
        ("16-bit", "transformers"),
    ]
    assert lines[2].precision == "int4"
    assert all(line.decode_tok_s > 0 for line in lines)
    # A token of int4 reads less; of experts the chosen ones, of an embedding that is not the head one row.
    assert lines[2].limit_tok_s > lines[0].limit_tok_s > 1e9 / lines[0].weights_bytes
