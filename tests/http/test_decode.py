"""What a query says, read within bounds."""

from __future__ import annotations

import pytest

from secretd.http.decode import _limit
from secretd.sdk.errors import InvalidRequestError


def test_a_limit_of_thousands_of_digits_is_the_largest() -> None:
    """Python refuses to convert so many digits; a client's number is a limit all the same."""
    assert _limit("9" * 5000) == 2**31 - 1
    assert _limit("-" + "9" * 5000) == 0


def test_a_limit_is_a_number() -> None:
    """Anything else is a 400."""
    with pytest.raises(InvalidRequestError):
        _limit("ten")
