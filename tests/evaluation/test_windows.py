"""Windows cover the text once, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.errors import UsageError
from fqconsole.evaluation.windows import batches, cut_windows, scored_tokens, tokenize
from fqconsole.generation.prompt import load_tokenizer
from tests.generation.tiny_models import write_tokenizer


@given(st.lists(st.integers(0, 99), min_size=2, max_size=60), st.integers(2, 16), st.none() | st.just(7))
def test_every_token_is_in_one_window(ids, window, bos):
    windows = cut_windows(ids, window, bos)
    bodies = [piece if bos is None else piece[1:] for piece in windows]
    joined = [token for body in bodies for token in body]
    assert joined == ids[: len(joined)]
    assert len(ids) - len(joined) <= (1 if bos is None else 0)  # a single token left over predicts nothing
    assert all(2 <= len(piece) <= window for piece in windows)
    assert bos is None or all(piece[0] == bos for piece in windows)
    assert scored_tokens(windows) == len(joined) - (len(windows) if bos is None else 0)


@given(st.integers(2, 40), st.integers(2, 9), st.integers(1, 5))
def test_batches_keep_the_order_and_never_mix_lengths(count, window, size):
    windows = cut_windows(list(range(count)), window)
    seen = []
    for batch in batches(windows, size):
        assert batch.shape[0] <= size
        seen += batch.tolist()
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
        ids, bos = tokenize(tokenizer, "Mara gave")
        assert tokenizer.decode(ids) == "Mara gave"
        assert bos == (tokenizer.bos_token_id if start else None)
