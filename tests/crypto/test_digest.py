"""Keyed hashes, chains and random names."""

from __future__ import annotations

import hashlib
import hmac
import re
import string
import uuid
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretd.crypto import digest

KEY = b"k" * 32


@given(key=st.binary(min_size=1, max_size=80), value=st.binary())
def test_keyed_hash(key: bytes, value: bytes) -> None:
    """A keyed hash is HMAC-SHA256."""
    assert digest.keyed_hash(key, value) == hmac.new(key, value, hashlib.sha256).digest()


@given(text=st.text())
def test_text_is_utf8(text: str) -> None:
    """Text hashes as its UTF-8 bytes."""
    assert digest.keyed_hash(KEY, text) == digest.keyed_hash(KEY, text.encode())


@given(entries=st.lists(st.binary(max_size=40), min_size=2, max_size=6), data=st.data())
def test_chain_sees_any_change(entries: list[bytes], data: st.DataObject) -> None:
    """A dropped, repeated, edited or moved entry changes the head of the chain."""

    def head(of: list[bytes]) -> bytes:
        link = digest.CHAIN_START
        for entry in of:
            link = digest.chain(KEY, link, entry)
        return link

    at = data.draw(st.integers(0, len(entries) - 1))
    changed = [
        entries[:at] + entries[at + 1 :],
        entries[: at + 1] + entries[at:],
        [*entries[:at], entries[at] + b"x", *entries[at + 1 :]],
        entries[::-1],
    ]
    for other in changed:
        assert (head(other) == head(entries)) == (other == entries)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_chain_wants_a_whole_link(size: int) -> None:
    """A link of another length is refused: it would let bytes wander between link and entry."""
    with pytest.raises(ValueError, match="32 bytes"):
        digest.chain(KEY, bytes(size), b"entry")


@given(
    left=st.one_of(st.binary(max_size=4), st.text(max_size=4)),
    right=st.one_of(st.binary(max_size=4), st.text(max_size=4)),
)
def test_equal(left: bytes | str, right: bytes | str) -> None:
    """Values are equal as their bytes are, beyond ASCII too."""
    same = (left.encode() if isinstance(left, str) else left) == (
        right.encode() if isinstance(right, str) else right
    )
    assert digest.equal(left, right) == same


def test_tokens() -> None:
    """A token is its prefix and exactly 24 letters and digits, never twice the same."""
    tokens = {digest.random_token("hvs.") for _ in range(2000)}
    assert len(tokens) == 2000
    assert all(re.fullmatch(r"hvs\.[0-9A-Za-z]{24}", token) for token in tokens)


@given(length=st.integers(0, 300))
def test_token_length(length: int) -> None:
    """A token has the length that was asked for."""
    assert len(digest.random_token("", length)) == length


def test_token_letters_are_fair() -> None:
    """All 62 letters come up, none much oftener than another."""
    seen = Counter(digest.random_token("", 62 * 4000))
    assert set(seen) == set(string.ascii_letters + string.digits)
    assert 3500 < min(seen.values()) <= max(seen.values()) < 4500


def test_uuid() -> None:
    """A UUID is of version 4 and in canonical text."""
    text = digest.random_uuid()
    assert uuid.UUID(text).version == 4
    assert str(uuid.UUID(text)) == text
