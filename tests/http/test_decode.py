"""What a query says, read within bounds."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict

from secretd.http.decode import _address, _limit
from secretd.sdk.errors import InvalidRequestError


def test_a_limit_of_thousands_of_digits_is_the_largest() -> None:
    """Python refuses to convert so many digits; a client's number is a limit all the same."""
    assert _limit("9" * 5000) == 2**31 - 1
    assert _limit("-" + "9" * 5000) == 0


def test_a_limit_is_a_number() -> None:
    """Anything else is a 400."""
    with pytest.raises(InvalidRequestError):
        _limit("ten")


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("10.0.0.1", ("192.0.2.9", "198.51.100.7"), "198.51.100.7"),  # the proxy added a header of its own
        ("10.0.0.1", ("192.0.2.9, 198.51.100.7",), "198.51.100.7"),
        ("::ffff:10.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        ("192.0.2.1", ("198.51.100.7",), "192.0.2.1"),
        ("10.0.0.1", (), "10.0.0.1"),
    ],
)
def test_the_proxys_own_word_is_the_address(peer: str, headers: tuple[str, ...], address: str) -> None:
    """A client that sends X-Forwarded-For itself does not choose its address."""
    request: Any = SimpleNamespace(
        protocol=None, remote=peer, headers=CIMultiDict(("X-Forwarded-For", text) for text in headers)
    )
    assert _address(request, [ipaddress.ip_network("10.0.0.0/8")]) == address
