"""Password policies."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretd.core.policy.password import (
    Charset,
    PasswordPolicy,
    entropy_bits,
    generate_password,
    parse_password_policy,
)
from secretd.sdk.errors import InvalidRequestError

_TEXT = """
length = 20
rule "charset" { charset = "abcdefghij" min-chars = 1 }
rule "charset" { charset = "0123456789" min-chars = 2 }
rule "charset" { charset = "-" }
"""


def _one(extra: str) -> str:
    return f'length = 20 rule "charset" {{ charset = "abcdefghij" {extra} }}'


def test_a_policy_is_read() -> None:
    """Length, charsets in order and their minima arrive."""
    assert parse_password_policy(_TEXT) == PasswordPolicy(
        20, (Charset("abcdefghij", 1), Charset("0123456789", 2), Charset("-"))
    )


@pytest.mark.parametrize(
    "rule",
    ['[{"charset": {"charset": "ba", "min-chars": 1}}]', '{"charset": {"charset": "aab", "min-chars": 1}}'],
)
def test_json(rule: str) -> None:
    """JSON says the same; a charset holds each character once."""
    text = f'{{"length": 20, "rule": {rule}}}'
    assert parse_password_policy(text) == PasswordPolicy(20, (Charset("ab", 1),))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "between 4 and 100"),
        ("length = 20", "no charset"),
        ('length = 3 rule "charset" { charset = "ab" }', "between 4 and 100"),
        ('length = 101 rule "charset" { charset = "ab" }', "between 4 and 100"),
        ('length = "20" rule "charset" { charset = "ab" }', "length is a whole number"),
        ('length = true rule "charset" { charset = "ab" }', "length is a whole number"),
        ('length = 20 length = 4 rule "charset" { charset = "ab" }', "length"),
        ('length = 20 colour = 1 rule "charset" { charset = "ab" }', '"colour" on line 1'),
        ('length = 20 rule "charsets" { charset = "ab" }', "only rule is charset"),
        ('length = 20 rule "charset" { }', "no charset"),
        ('length = 20 rule "charset" { charset = "" }', "text of 1"),
        ('length = 20 rule "charset" { charset = ["ab"] }', "text of 1"),
        ('length = 20 rule "charset" { charset = "a\\n" }', "non-printable"),
        ('length = 20 rule "charset" { charset = "aaa" }', "same password"),
        (_one("min-chars = 21"), "more characters than the length"),
        (_one("min-chars = -1"), "min-chars is a whole number"),
        (_one("min_chars = 1"), "min_chars"),
        (_one('min-chars = "1"'), "min-chars is a whole number"),
    ],
)
def test_what_cannot_be_met_is_refused(text: str, words: str) -> None:
    """A policy that is misspelt or impossible is refused with the key at fault."""
    with pytest.raises(InvalidRequestError, match=f"invalid password policy: .*{words}"):
        parse_password_policy(text)


_CHARSETS = st.builds(
    Charset,
    characters=st.text("abcXYZ019-_é@:", min_size=1).map(lambda text: "".join(sorted(set(text)))),
    min_chars=st.integers(0, 10),
)


@settings(deadline=None)
@given(st.lists(_CHARSETS, min_size=1, max_size=4), st.integers(40, 100))
def test_passwords_meet_their_policy(charsets: list[Charset], length: int) -> None:
    """Every password has the length, the alphabet and the minima, overlapping charsets included."""
    policy = PasswordPolicy(length, tuple(charsets))
    password = generate_password(policy)
    assert len(password) == length
    assert set(password) <= set(policy.alphabet)
    assert all(sum(c in charset.characters for c in password) >= charset.min_chars for charset in charsets)


def test_minima_that_fill_the_length() -> None:
    """A policy that leaves no free character is met at once."""
    policy = parse_password_policy(
        'length = 20 rule "charset" { charset = "ab" min-chars = 1 } rule "charset" { charset = "XY" min-chars = 19 }'
    )
    assert sum(c in "XY" for c in generate_password(policy)) == 19


def test_bits_are_a_lower_bound() -> None:
    """Free characters count in full, demanded ones by their charset; no password is likelier than that."""
    free = PasswordPolicy(20, (Charset("abcdefghij"),))
    assert entropy_bits(free) == pytest.approx(20 * math.log2(10))
    tight = PasswordPolicy(4, (Charset("a", 1), Charset("ab", 3)))
    assert entropy_bits(tight) == pytest.approx(3)
    drawn = [generate_password(tight) for _ in range(4000)]
    assert max(drawn.count(password) for password in set(drawn)) / 4000 < 2**-3 + 0.05


def test_passwords_differ() -> None:
    """Two passwords of a real policy are never the same, nor is the place of a demanded character."""
    policy = parse_password_policy(_TEXT)
    drawn = {generate_password(policy) for _ in range(200)}
    assert len(drawn) == 200
    assert len({password[0].isdigit() for password in drawn}) == 2
