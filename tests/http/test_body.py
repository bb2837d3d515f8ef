"""Properties of body decoding."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretd.http.body import MAX_DEPTH, MAX_MEMBERS, decode_object
from secretd.sdk.errors import InvalidRequestError, TooLargeError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text('a"\\:,[]{}é', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\:{', max_size=3), inner, max_size=4)
    ),
    max_leaves=30,
)
REFUSED = {
    "array": b'["canary"]',
    "text": b'"canary"',
    "number": b"5",
    "trailing": b'{"a":"canary"} x',
    "cut": b'{"a":"canary',
    "form": b"a=canary",
    "nan": b'{"a":NaN,"b":"canary"}',
    "infinity": b'{"a":-Infinity}',
    "overflow": b'{"a":1e999}',
    "lone high surrogate": b'{"a":"\\ud800canary"}',
    "lone low surrogate": b'{"a":"\\udc00canary"}',
    "encoded surrogate": b'{"a":"\xed\xa0\x80"}',
    "overlong": b'{"a":"\xc0\xae"}',
    "control": b'{"a":"\x01"}',
    "bom": b"\xef\xbb\xbf{}",
    "repeated": b'{"canary":1,"canary":2}',
    "repeated and escaped": b'{"\\u0061":1,"a":2}',
    "repeated deep": b'{"x":[{"y":{"a":":","a":"\\\\"}}]}',
    "repeated with a quote": b'{"a\\"":1,"b":"c","a\\"":2}',
    "long number": b'{"a":[18446744073709551616]}',
    "very long number": b'{"a":' + b"1" * 5000 + b"}",
}


@pytest.mark.parametrize("body", [b"", b"  \r\n", b"{}", b"null", b" { } "])
def test_nothing_is_an_empty_object(body: bytes) -> None:
    """An empty, blank, null or empty-object body is an empty object."""
    assert decode_object(body) == {}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_json_is_refused_without_an_echo(name: str) -> None:
    """What is no unambiguous JSON object is a 400 that repeats nothing of it, in no chained error either."""
    with pytest.raises(InvalidRequestError) as refusal:
        decode_object(REFUSED[name])
    assert "canary" not in refusal.value.message
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5))
def test_every_unambiguous_object_is_accepted(value: dict[str, object]) -> None:
    """Colons, quotes and backslashes inside strings and names never look like a repeated name."""
    assert decode_object(json.dumps(value).encode()) == value
    assert decode_object(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.dictionaries(st.text('a"\\:', max_size=4), JSON, min_size=1, max_size=3), st.data())
def test_every_repeated_name_is_refused(value: dict[str, object], data: st.DataObject) -> None:
    """A member written twice is found wherever colons stand in strings."""
    name = data.draw(st.sampled_from(sorted(value)))
    again = f"{json.dumps(name)}:{json.dumps(data.draw(JSON))}"
    with pytest.raises(InvalidRequestError):
        decode_object(f"{{{again},{json.dumps(value)[1:]}".encode())


@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_nesting_has_a_limit(brackets: tuple[str, str]) -> None:
    """The deepest allowed body is accepted, one level more is refused, a hundred thousand too."""

    def nested(levels: int) -> bytes:
        return (f'{{"x":{brackets[0] * (levels - 1)}1' + brackets[1] * (levels - 1) + "}").encode()

    assert decode_object(nested(MAX_DEPTH))
    for levels in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(InvalidRequestError):
            decode_object(nested(levels))


def test_brackets_in_strings_are_no_nesting() -> None:
    """Brackets and escaped quotes inside strings do not count as levels."""
    value = {"a": "[{" * 500 + '"\\', "b": ["\\" * n + '"[' for n in range(200)]}
    assert decode_object(json.dumps(value).encode()) == value


@pytest.mark.parametrize("piece", [b"{},", b'"":[],', b"[],", b",", b":", b"[", b"{"])
def test_too_many_members_are_refused_before_decoding(piece: bytes) -> None:
    """A body of more structure than the limit is too large, valid or not."""
    with pytest.raises(TooLargeError):
        decode_object(b'{"a":[' + piece * (MAX_MEMBERS + 1) + b"0]}")


def test_the_largest_whole_numbers_are_exact() -> None:
    """Whole numbers of 64 bits, signed or not, come through unchanged."""
    value = {"a": 2**64 - 1, "b": [-(2**63), 2**63]}
    assert decode_object(json.dumps(value).encode()) == value
