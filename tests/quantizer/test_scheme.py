"""Bytes of a scheme against counting by hand."""

import pytest

from quantizer.scheme import Scheme, bits_per_weight, stored_bytes, words_per_row


@pytest.mark.parametrize(("k", "bits", "words"), [(32, 3, 3), (33, 3, 4), (64, 4, 8), (65, 4, 9), (5, 8, 2)])
def test_rows_are_padded_to_whole_words(k, bits, words):
    assert words_per_row(k, bits) == words


def test_stored_bytes_count_codes_and_scales_of_every_expert():
    assert stored_bytes((3, 10, 128), Scheme(4, 64)) == 3 * 10 * (64 + 2 * 2)
    assert bits_per_weight((10, 128), Scheme(4, 64)) == 4.25
    assert bits_per_weight((10, 128), Scheme(8, None)) == 8.125


def test_a_group_that_does_not_divide_is_an_error():
    with pytest.raises(ValueError, match="does not divide K=100"):
        Scheme(4, 64).groups(100)
