"""Usernames and passwords of made accounts."""

from __future__ import annotations

import math
import re
import string
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretd.sdk.credential import (
    DEFAULT_TEMPLATE,
    MIN_PASSWORD_BITS,
    UsernameTemplate,
    check_username_template,
    make_password,
    make_username,
    password_bits,
)
from secretd.sdk.errors import InvalidRequestError

_NOW = datetime(2026, 11, 23, tzinfo=UTC)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")

_PARTS = st.sampled_from(
    [
        "v-",
        "é'\"; DROP",
        "{{.DisplayName}}",
        "{{.DisplayName | truncate 8}}",
        '{{.DisplayName | replace "b" "bbbbbbbb" | truncate 20}}',
        "{{.RoleName | uppercase}}",
        "{{.RoleName | truncate_sha256 12}}",
        "{{random 8}}",
        "{{random 14}}",
        "{{random 20 | lowercase}}",
        "{{uuid | truncate 30}}",
        "{{random 30 | sha256 | truncate 24}}",
        "{{random 20 | base64}}",
        "{{unix_time}}",
        '{{printf "%s-%s" (random 16) .DisplayName | truncate 40}}',
    ]
)
_TEMPLATES = st.lists(_PARTS, max_size=5).map("".join)


def _make(template: UsernameTemplate | None, display_name: str = "token-ada", role_name: str = "app") -> str:
    return make_username(template, display_name=display_name, role_name=role_name, now=_NOW)


def test_the_default_name() -> None:
    """Without a template a name reads as Vault's: v, who, role, random, time."""
    assert re.fullmatch(r"v-token-ad-app-[A-Za-z0-9]{20}-1795392000", _make(None))


def test_the_default_template_is_acceptable() -> None:
    """Our own template passes our own check."""
    assert _NAME.fullmatch(_make(check_username_template(DEFAULT_TEMPLATE), "x" * 99, "y" * 99))


@settings(deadline=None)
@given(_TEMPLATES, st.text(max_size=300), st.text(max_size=80))
def test_every_name_is_safe_and_unique(text: str, display_name: str, role_name: str) -> None:
    """Whatever template and values: the alphabet, at most 63, and never the same twice."""
    template = UsernameTemplate.compile(text)
    names = [_make(template, display_name, role_name) for _ in range(3)]
    assert all(_NAME.fullmatch(name) for name in names)
    assert len(set(names)) == 3


@settings(deadline=None)
@given(_TEMPLATES, st.text(max_size=300), st.text("bB.é", max_size=80))
def test_an_accepted_template_fits(text: str, display_name: str, role_name: str) -> None:
    """What the check lets pass makes names that need no cut."""
    try:
        template = check_username_template(text)
    except InvalidRequestError:
        return
    rendered = template.render(display_name=display_name, role_name=role_name, now=_NOW)
    if "bbbbbbbb" not in text:
        assert len(rendered) <= 63


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{.RoleName | truncate 10}}-{{random 8}}", "80 random bits"),
        ("v-{{.DisplayName}}-{{random 20}}", "80 random bits"),
        ('{{printf "%s-%s" .DisplayName (random 20) | truncate 63}}', "80 random bits"),
        ("{{random 20}}-{{.DisplayName}}", "longer than 63"),
        ("{{random 64}}", "longer than 63"),
        ("{{unix_time}}", "80 random bits"),
        ("", "80 random bits"),
        ("{{random 20 | base64}}", "80 random bits"),
        ("{{.Password}}", "fields are"),
        ("{{shell}}", "functions are"),
    ],
)
def test_poor_and_long_templates_are_refused(text: str, words: str) -> None:
    """A template that could make two equal or overlong names is refused when it is written."""
    with pytest.raises(InvalidRequestError, match=f"username_template.*{words}"):
        check_username_template(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{random 14}}",
        "{{random 17 | lowercase}}",
        "app_{{uuid}}",
        "{{.RoleName | truncate 20}}-{{random 20}}",
        '{{printf "%s-%s" (random 14) .DisplayName | truncate 63}}',
    ],
)
def test_good_templates_are_used(text: str) -> None:
    """A template that keeps its random part is what names are made of."""
    name = _make(check_username_template(text))
    assert _NAME.fullmatch(name)
    assert not name.startswith("v-")


def test_a_value_that_eats_the_random_part() -> None:
    """Where a display name pushes the random part out, the default template steps in."""
    template = UsernameTemplate.compile(
        '{{printf "%s%s" (.DisplayName | replace "b" "bbbbbbbb") (random 20) | truncate 63}}'
    )
    assert _make(template, "ada").startswith("ada")
    assert _make(template, "bbbbbbbb").startswith("v-bbbbbbbb-app-")


@pytest.mark.parametrize("limit", [50, 64])
def test_limits_of_names(limit: int) -> None:
    """A limit that could cut the default name, or exceed PostgreSQL's, is a programming error."""
    with pytest.raises(ValueError, match="limit"):
        make_username(None, display_name="a", role_name="b", now=_NOW, limit=limit)


@pytest.mark.parametrize("length", [20, 32, 64])
def test_passwords(length: int) -> None:
    """A password has its length, four kinds of character, none that needs quoting, and no leading dash."""
    for _ in range(50):
        password = make_password(length)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]+", password)
        assert len(password) == length
        for kind in (string.ascii_uppercase, string.ascii_lowercase, string.digits, "-"):
            assert set(password) & set(kind)


def test_password_bits() -> None:
    """The default holds 112 bits; the count is exact, just below that of unconstrained characters."""
    assert MIN_PASSWORD_BITS <= password_bits() < math.log2(62) + 19 * math.log2(63)
    assert password_bits(40) > password_bits(20)
    for length in (0, 19, 257):
        with pytest.raises(ValueError, match="20 to 256"):
            make_password(length)
