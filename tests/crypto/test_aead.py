"""The format of a blob, and that nothing but what made it opens it."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from secretd.crypto import aead
from secretd.sdk.errors import BarrierError

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
TERMS = st.integers(0, aead.MAX_TERM)
PARTS = st.lists(st.one_of(st.binary(), st.text(), st.integers(-(2**63), 2**63 - 1)), max_size=5)


@given(plaintext=st.binary(max_size=4096), aad=st.binary(max_size=200), term=TERMS)
def test_round_trip(plaintext: bytes, aad: bytes, term: int) -> None:
    """What was encrypted comes back, under the term that was named, 33 bytes longer at rest."""
    blob = aead.encrypt(KEY, term, plaintext, aad)
    assert aead.decrypt(KEY, blob, aad) == plaintext
    assert aead.term_of(blob) == term
    assert len(blob) == len(plaintext) + 33
    assert blob[:5] == b"\x01" + term.to_bytes(4, "big")


@given(plaintext=st.binary(max_size=64), aad=st.binary(max_size=64), bit=st.integers(0))
def test_every_bit_counts(plaintext: bytes, aad: bytes, bit: int) -> None:
    """A blob with any one bit turned over does not open."""
    blob = bytearray(aead.encrypt(KEY, 7, plaintext, aad))
    at = bit % (len(blob) * 8)
    blob[at // 8] ^= 1 << at % 8
    with pytest.raises(BarrierError):
        aead.decrypt(KEY, bytes(blob), aad)


@given(aad=st.binary(max_size=64), other=st.binary(max_size=64))
def test_aad_is_bound(aad: bytes, other: bytes) -> None:
    """A blob moved to where the AAD differs does not open."""
    assume(aad != other)
    with pytest.raises(BarrierError):
        aead.decrypt(KEY, aead.encrypt(KEY, 1, b"value", aad), other)


def test_other_key() -> None:
    """Another key does not open a blob."""
    with pytest.raises(BarrierError):
        aead.decrypt(OTHER_KEY, aead.encrypt(KEY, 1, b"value", b""), b"")


def test_header_and_aad_do_not_run_together() -> None:
    """A relabelled term does not open, even under the very key, though the tag is computed over both."""
    blob = aead.encrypt(KEY, 1, b"value", b"aad")
    with pytest.raises(BarrierError):
        aead.decrypt(KEY, aead.Cipher(KEY, 2).header + blob[5:], b"aad")


@given(junk=st.binary(max_size=80))
def test_junk_is_a_barrier_error(junk: bytes) -> None:
    """Bytes that secretd never wrote give a BarrierError, whatever their length."""
    with pytest.raises(BarrierError):
        aead.decrypt(KEY, junk, b"")
    with pytest.raises(BarrierError):
        aead.Cipher(KEY, 1).decrypt(junk, b"")


@given(size=st.integers(0, 32))
def test_cut_blob(size: int) -> None:
    """A blob cut below its fixed parts gives a BarrierError from every reader."""
    blob = aead.encrypt(KEY, 1, b"", b"")[:size]
    with pytest.raises(BarrierError):
        aead.term_of(blob)
    with pytest.raises(BarrierError):
        aead.Cipher(KEY, 1).decrypt(blob, b"")


def test_unknown_format() -> None:
    """A blob of a format from the future is refused, not guessed at."""
    blob = b"\x02" + aead.encrypt(KEY, 1, b"value", b"")[1:]
    with pytest.raises(BarrierError):
        aead.term_of(blob)


def test_nonces_differ() -> None:
    """The same plaintext under the same key never gives the same nonce twice in a thousand."""
    assert len({aead.encrypt(KEY, 1, b"", b"")[5:17] for _ in range(1000)}) == 1000


@pytest.mark.parametrize(("key", "term"), [(b"k" * 16, 1), (b"k" * 33, 1), (KEY, -1), (KEY, 2**32)])
def test_sizes_are_checked(key: bytes, term: int) -> None:
    """A key that is not 256 bits and a term that is not 32 bits are refused."""
    with pytest.raises(ValueError, match="32"):
        aead.Cipher(key, term)


@given(left=PARTS, right=PARTS)
def test_bind_is_injective(left: list[bytes | str | int], right: list[bytes | str | int]) -> None:
    """Two lists of parts give the same AAD only if they are the same, types included."""
    same = [(type(part), part) for part in left] == [(type(part), part) for part in right]
    assert (aead.bind(*left) == aead.bind(*right)) == same


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a",), (b"a",)),
        (("1",), (1,)),
        ((b"\0" * 7 + b"\x01",), (1,)),
        (("a", ""), ("a",)),
        ((), ("",)),
        (("a", "b"), ("b", "a")),
        ((1,), (-1,)),
    ],
)
def test_bind_tells_apart(left: tuple[bytes | str | int, ...], right: tuple[bytes | str | int, ...]) -> None:
    """The lists that a plain join would confuse are told apart."""
    assert aead.bind(*left) != aead.bind(*right)


@given(left=PARTS, right=PARTS)
def test_bind_concatenates(left: list[bytes | str | int], right: list[bytes | str | int]) -> None:
    """A constant prefix may be kept: binding in two steps equals binding in one."""
    assert aead.bind(*left) + aead.bind(*right) == aead.bind(*left, *right)


def test_bind_refuses_wide_numbers() -> None:
    """A number that 64 bits cannot hold is refused, not cut."""
    with pytest.raises(OverflowError):
        aead.bind(2**63)
