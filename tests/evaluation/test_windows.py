"""Windows cover the text once, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.demo import heldout_text
from fqconsole.errors import UsageError
from fqconsole.evaluation.windows import batches, cut_windows, scored_tokens, tokenize
from fqconsole.generation.prompt import load_tokenizer
from tests.generation.tiny_models import write_tokenizer


@given(st.lists(st.integers(0, 99), min_size=2, max_size=60), st.integers(2, 24), st.none() | st.just(7))
def test_every_token_is_scored_in_one_window(ids, window, bos):
    windows = cut_windows(ids, window, bos)
    scored = [token for piece in windows for token in piece.tokens[piece.given :]]
    assert scored == (ids if bos is not None else ids[1:])
    assert scored_tokens(windows) == len(scored)
    assert all(1 <= piece.given < len(piece.tokens) <= window for piece in windows)
    assert bos is None or all(piece.tokens[0] == bos for piece in windows)


def test_a_window_begins_with_the_end_of_the_one_before():
    first, second, *_ = cut_windows(list(range(100)), 16, bos=None)
    assert first == (list(range(16)), 1)
    assert second == (list(range(14, 30)), 2)
    first, second, *_ = cut_windows(list(range(100)), 16, bos=777)
    assert first == ([777, *range(15)], 1)
    assert second == ([777, *range(13, 28)], 3)


@given(st.integers(2, 90), st.integers(2, 20), st.integers(1, 5))
def test_batches_keep_the_order_and_never_mix_shapes(count, window, size):
    windows = cut_windows(list(range(count)), window)
    seen = []
    for batch, context in batches(windows, size):
        assert batch.shape[0] <= size
        seen += [(row, context) for row in batch.tolist()]
    assert seen == windows


def test_too_short_a_text_or_window_is_refused():
    with pytest.raises(UsageError, match="1 tokens, too few"):
        cut_windows([3], 8)
    with pytest.raises(UsageError, match="predicts nothing"):
        cut_windows([3, 4, 5], 1)


def test_a_tokenizer_that_begins_texts_with_a_token_is_noticed(tmp_path):
    for start in (False, True):
        folder = tmp_path / str(start)
        write_tokenizer(folder, start=start)
        tokenizer = load_tokenizer(folder)
        ids, bos = tokenize(tokenizer, "Mara gave", 100)
        assert tokenizer.decode(ids) == "Mara gave"
        assert bos == (tokenizer.bos_token_id if start else None)


@pytest.mark.parametrize("most", [1, 100, 3000])
def test_of_a_long_text_as_much_is_cut_into_tokens_as_is_scored(tmp_path, most):
    """Also where tokens are long: a run of spaces and one word that never ends."""
    write_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    text = heldout_text(40) + " " * 5000 + "x" * 5000 + heldout_text(40) * 50
    whole = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    read = []

    class Counted:
        bos_token_id = None

        def __call__(self, part, **options):
            read.append(len(part))
            return tokenizer(part, **options)

    assert tokenize(Counted(), text, most)[0] == whole[:most]
    assert max(read) < len(text) / 4
    assert tokenize(tokenizer, text, len(text))[0] == whole
