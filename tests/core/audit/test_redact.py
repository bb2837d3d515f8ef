"""No value reaches an entry in clear unless its key was tuned to be shown."""

from __future__ import annotations

import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretd.core.audit.redact import MAX_DEPTH, MAX_LEAVES, Redactor
from secretd.sdk.fields import Duration, Sensitive, Strings

KEY = bytes(range(32))
REDACTOR = Redactor(KEY)


def hashed(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return "hmac-sha256:" + hmac.digest(KEY, raw, "sha256").hex()


def leaves(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_every_leaf_is_an_hmac_and_the_shape_stays(value):
    """Keys, order and nesting are kept; every leaf is ``hmac-sha256:`` and 64 hex digits."""
    shown = REDACTOR.redact(value)
    found = list(leaves(shown))
    assert all(
        isinstance(leaf, str) and leaf.startswith("hmac-sha256:") and len(leaf) == 76 for leaf in found
    )
    assert len(found) == len(list(leaves(value)))
    json.dumps(shown)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ("", ""), (None, "null"), (True, "true"), (False, "false"), (0, "0"), (1, "1"), (99, "99")]
    + [
        (1.5, "1.5"),
        (b"raw", b"raw"),
        (Sensitive("s"), "s"),
        (Duration(60), "60"),
        (2**70, str(2**70)),
    ],
)
def test_a_leaf_is_hashed_as_an_operator_would_type_it(value, text):
    """`sys/audit-hash` of the JSON text of a value gives what the entry shows."""
    assert REDACTOR.redact(value) == hashed(text)


def test_tuned_keys_show_scalars_at_any_depth_and_nothing_else():
    """A key tuned to be shown shows its own scalar; lists and objects below it are walked as ever."""
    data = {"a": "clear", "b": [{"a": 5, "c": "x"}], "d": {"a": ["y", {"a": None}]}}
    shown = REDACTOR.redact(data, clear=frozenset({"a"}))
    assert shown == {
        "a": "clear",
        "b": [{"a": 5, "c": hashed("x")}],
        "d": {"a": [hashed("y"), {"a": None}]},
    }


def test_a_tuned_key_never_shows_a_sensitive_or_bytes():
    """What is no plain scalar is hashed under any key."""
    shown = REDACTOR.redact({"a": Sensitive("s"), "b": b"x", "c": Duration(5)}, clear=frozenset("abc"))
    assert shown == {"a": hashed("s"), "b": hashed(b"x"), "c": 5}


class Odd:
    """A type that nobody thought of."""

    def __repr__(self) -> str:
        return "a secret in a repr"


def test_unknown_types_are_hashed_without_their_repr():
    """An object of an unknown type is one HMAC, of its JSON or of its type's name."""
    assert REDACTOR.redact({"a": Odd()}) == {"a": hashed("Odd")}
    assert REDACTOR.redact({"a": Strings(("x",))})["a"].startswith("hmac-sha256:")


def test_a_hostile_body_costs_a_bounded_number_of_hashes():
    """Too many leaves, or too deep a nesting, become one HMAC for the container (CVE-2025-6203)."""
    wide = REDACTOR.redact({"keys": ["x"] * (MAX_LEAVES + 1), "a": "b"})
    assert wide == {
        "keys": hashed(json.dumps(["x"] * (MAX_LEAVES + 1), separators=(",", ":"))),
        "a": hashed("b"),
    }
    deep: object = "x"
    for _ in range(100_000):
        deep = [deep]
    shown = REDACTOR.redact(deep)
    for _ in range(MAX_DEPTH):
        (shown,) = shown
    assert shown.startswith("hmac-sha256:")


def test_an_endless_key_is_hashed():
    """A key that is no name cannot carry a secret or fill the disk."""
    assert REDACTOR.redact({"k" * 300: "v"}) == {hashed("k" * 300): hashed("v")}


def test_a_short_key_is_refused():
    """The key has 32 bytes."""
    with pytest.raises(ValueError, match="32 bytes"):
        Redactor(b"short")


def test_an_integer_of_thousands_of_digits_is_hashed():
    """What Python refuses to write in decimal is hashed all the same."""
    assert REDACTOR.redact([10**5000], clear=frozenset("a")) == [hashed(hex(10**5000))]
