"""Key shares: Vault's format, checked against another implementation of it in both directions."""

from __future__ import annotations

import itertools
import secrets

import pyshamir  # type: ignore[import-untyped]  # ships no types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretd.crypto import shamir
from secretd.sdk.errors import InvalidRequestError

SECRETS = st.binary(min_size=1, max_size=48)


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    """Shares and a threshold that fit each other."""
    shares = draw(st.integers(2, 12))
    return shares, draw(st.integers(2, shares))


def slow_product(left: int, right: int) -> int:
    """The schoolbook product: multiply as polynomials, then divide by the field's polynomial."""
    product = 0
    for bit in range(8):
        if right >> bit & 1:
            product ^= left << bit
    for bit in range(15, 7, -1):
        if product >> bit & 1:
            product ^= 0x11B << bit - 8
    return product


@given(secret=SECRETS, numbers=counts(), data=st.data())
def test_any_threshold_of_shares_combines(
    secret: bytes, numbers: tuple[int, int], data: st.DataObject
) -> None:
    """Any threshold or more of the shares, in any order, give the secret back."""
    shares, threshold = numbers
    split = shamir.split(secret, shares, threshold)
    chosen = data.draw(st.permutations(split))[: data.draw(st.integers(threshold, shares))]
    assert shamir.combine(chosen) == secret


@settings(max_examples=40)
@given(secret=SECRETS, numbers=counts())
def test_the_oracle_combines_ours(secret: bytes, numbers: tuple[int, int]) -> None:
    """Shares of ours combine in pyshamir."""
    shares, threshold = numbers
    ours = shamir.split(secret, shares, threshold)[:threshold]
    assert bytes(pyshamir.combine([bytearray(share) for share in ours])) == secret


@settings(max_examples=40)
@given(secret=SECRETS, numbers=counts())
def test_we_combine_the_oracles(secret: bytes, numbers: tuple[int, int]) -> None:
    """Shares of pyshamir's combine here."""
    shares, threshold = numbers
    theirs = pyshamir.split(secret, shares, threshold)[-threshold:]
    assert shamir.combine([bytes(share) for share in theirs]) == secret


@given(shares=st.integers(2, 255), secret=st.binary(min_size=32, max_size=32))
def test_format(shares: int, secret: bytes) -> None:
    """A share of a 32-byte key has 33 bytes and ends in its x, distinct and not zero."""
    split = shamir.split(secret, shares, 2)
    assert {len(share) for share in split} == {33}
    xs = {share[-1] for share in split}
    assert len(xs) == shares
    assert 0 not in xs


def test_most_shares() -> None:
    """255 shares of 255 combine, and one missing does not."""
    secret = secrets.token_bytes(32)
    split = shamir.split(secret, 255, 255)
    assert shamir.combine(split) == secret
    assert shamir.combine(split[1:]) != secret


@given(secret=SECRETS)
def test_one_of_one_is_the_secret(secret: bytes) -> None:
    """One share of one is the secret itself, there and back, as in Vault."""
    assert shamir.split(secret, 1, 1) == [secret]
    assert shamir.combine([secret]) == secret


@given(secret=st.binary(min_size=32, max_size=32))
def test_too_few_shares(secret: bytes) -> None:
    """Fewer shares than the threshold combine without an error to something else."""
    for pair in itertools.combinations(shamir.split(secret, 5, 3), 2):
        assert shamir.combine(pair) != secret


def test_too_few_shares_say_nothing() -> None:
    """One share of two is uniform whatever the secret: each of its values comes up, zero secret or not."""
    for secret in (b"\0", b"\xff"):
        seen = {shamir.split(secret, 2, 2)[0][0] for _ in range(8000)}
        assert len(seen) == 256


def test_shares_differ_each_time() -> None:
    """Splitting the same secret twice gives other shares."""
    secret = bytes(32)
    assert set(shamir.split(secret, 5, 3)).isdisjoint(shamir.split(secret, 5, 3))


@given(secret=st.binary(min_size=32, max_size=32), at=st.integers(0, 31), mask=st.integers(1, 255))
def test_a_wrong_share_gives_a_wrong_secret(secret: bytes, at: int, mask: int) -> None:
    """A share with a damaged byte never combines to the secret."""
    split = shamir.split(secret, 3, 3)
    damaged = bytearray(split[1])
    damaged[at] ^= mask
    assert shamir.combine([split[0], bytes(damaged), split[2]]) != secret


@pytest.mark.parametrize(
    ("shares", "threshold"),
    [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (5, 1), (5, 6), (256, 3), (-1, -1), (3, -2)],
)
def test_impossible_counts(shares: int, threshold: int) -> None:
    """Counts that make no sense, or no secret, are refused."""
    with pytest.raises(InvalidRequestError):
        shamir.split(bytes(32), shares, threshold)


def test_empty_secret() -> None:
    """Nothing cannot be split."""
    with pytest.raises(InvalidRequestError):
        shamir.split(b"", 3, 2)


@pytest.mark.parametrize(
    "shares",
    [
        [],
        [b"ab\x01", b"cd\x01"],
        [b"ab\x01", b"ab\x01"],
        [b"ab\x01", b"cde\x02"],
        [b"ab\x00", b"cd\x01"],
        [b"\x01", b"\x02"],
        [b"", b""],
    ],
    ids=["none", "same x", "same share", "lengths", "zero x", "no y", "empty"],
)
def test_impossible_shares(shares: list[bytes]) -> None:
    """Shares that no split gives are refused."""
    with pytest.raises(InvalidRequestError):
        shamir.combine(shares)


@given(left=st.integers(0, 255), right=st.integers(0, 255))
def test_product(left: int, right: int) -> None:
    """The product of the field is the schoolbook one."""
    assert shamir._scale(left, right, size=1) == slow_product(left, right)


@given(lanes=st.binary(min_size=1, max_size=40), factor=st.integers(0, 255))
def test_lanes_stay_apart(lanes: bytes, factor: int) -> None:
    """Multiplying many bytes at once is multiplying each by itself."""
    product = shamir._scale(int.from_bytes(lanes, "big"), factor, size=len(lanes))
    assert product.to_bytes(len(lanes), "big") == bytes(slow_product(byte, factor) for byte in lanes)


def test_inverse() -> None:
    """Every element but zero times its inverse is one."""
    assert all(slow_product(element, shamir._inverse(element)) == 1 for element in range(1, 256))
