"""One word is an address, with the model's name after a # where it has one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.endpoints.address import Address, is_address, parse_address
from fqconsole.errors import UsageError


@pytest.mark.parametrize(
    ("word", "url", "model"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1", None),
        ("http://localhost:8000", "http://localhost:8000/v1", None),
        ("https://api.example/openai/v1/", "https://api.example/openai/v1", None),
        ("http://[::1]:1/v1#org/name", "http://[::1]:1/v1", "org/name"),
    ],
)
def test_addresses_are_read(word, url, model):
    assert is_address(word)
    assert parse_address(word) == Address(url, model)


@given(st.text(min_size=1, max_size=30))
def test_an_address_written_out_and_read_again_is_the_same(model):
    address = Address("http://127.0.0.1:8000/v1", model)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "word",
    [
        "http://", "http:///v1", "ftp://host/v1", "http://user:secret@host/v1", "http://host:99999/v1",
        "http://host/v1?token=secret", "http://ho st/v1", "http://host\x1b/v1", "http://[::1/v1", "http://ä/v1",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_repeating_a_password(word):
    with pytest.raises(UsageError) as refused:
        parse_address(word)
    assert "user:secret" not in str(refused.value)


@pytest.mark.parametrize("word", ["demo", "org/model", "/folder", "httpx", "r0012"])
def test_other_words_for_models_are_none(word):
    assert not is_address(word)
