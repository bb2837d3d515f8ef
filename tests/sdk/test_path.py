"""Rows: what a body becomes before a handler sees it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.path import Path
from secretd.sdk.request import UPDATE, Call
from secretd.sdk.response import Response


class Fields(msgspec.Struct):
    """One of each kind."""

    needed: int
    text: str = "absent"
    maybe: str | None = "absent"
    any: Any = "absent"


async def _handle(call: Call, fields: Fields) -> Response | None:
    return None


ROW = Path(UPDATE, "row", Fields, _handle)


def test_null_is_absent_where_the_field_knows_no_null() -> None:
    """hvac sends every parameter it has, null if unset: the default stands."""
    found = ROW.decode({"needed": 1, "text": None, "maybe": None, "any": None}, {})
    assert (found.text, found.maybe, found.any) == ("absent", None, None)


def test_null_for_a_required_field_is_its_absence() -> None:
    """The message says that it is missing."""
    with pytest.raises(InvalidRequestError, match="missing required field needed"):
        ROW.decode({"needed": None}, {})
