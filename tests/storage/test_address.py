"""Connection texts: both forms, and what a wrong one is told."""

from __future__ import annotations

import pytest

from secretd.sdk.errors import ConfigError
from secretd.storage.address import parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "postgresql://app:p%40ss@db.example:6432/vault",
            {"host": ["db.example"], "port": [6432], "user": "app", "password": "p@ss", "database": "vault"},
        ),
        (
            "host=db.example port=6432 user=app password='p\\'a ss' dbname=vault connect_timeout=3",
            {
                "host": ["db.example"],
                "port": [6432],
                "user": "app",
                "password": "p'a ss",
                "database": "vault",
            },
        ),
        ("postgres://[::1]:5433/x", {"host": ["::1"], "port": [5433], "database": "x"}),
        ("postgresql:///x?host=%2Frun%2Fpg&port=5", {"host": ["/run/pg"], "port": [5], "database": "x"}),
        (
            "postgresql://a:1,b:2/x",
            {"host": ["a", "b"], "port": [1, 2], "database": "x", "target_session_attrs": "read-write"},
        ),
        ("host=a,b port=7", {"host": ["a", "b"], "port": [7, 7], "target_session_attrs": "read-write"}),
        (
            "postgresql://h/x?sslmode=require",
            {"host": ["h"], "database": "x", "dsn": "postgresql:///?sslmode=require"},
        ),
    ],
)
def test_both_forms_become_the_drivers_arguments(text: str, expected: dict[str, object]) -> None:
    """URL and keyword text give the same arguments, percent escapes and quotes undone."""
    assert parse_address(text).arguments() == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "canary",
        "mysql://u:canary@h/x",
        "host=h password='canary",
        "host=h canary",
        "postgresql://u:canary@h:port/x",
        "postgresql://u:canary@h:99999/x",
        "postgresql://u:canary#1@h/x",
        "postgresql://u:canary@[::1/x",
        "host=h shoe_size=canary",
        "host=h connect_timeout=canary",
        "host=a,b port=1,2,3",
    ],
)
def test_a_wrong_text_is_refused_without_an_echo(text: str) -> None:
    """Whatever is wrong, the error is a ConfigError that repeats no value of the text."""
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert "canary" not in f"{caught.value!r} {caught.value.hint}"


def test_repr_hides_the_password() -> None:
    """An address that is logged by accident shows no password."""
    assert "canary" not in repr(parse_address("host=h password=canary sslpassword=canary"))
