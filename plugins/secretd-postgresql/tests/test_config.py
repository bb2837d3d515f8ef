"""Connections are understood without I/O; what is wrong is named, what is secret is never shown."""

from __future__ import annotations

from typing import Any

import pytest

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Sensitive
from secretd_postgresql.config import describe, settings_of

URL = "postgresql://{{username}}:{{password}}@db.example:5433/app"


def fields(url: str = URL, **changes: Any) -> dict[str, Any]:
    return {"connection_url": url, "username": "ad min", "password": "p@ss:/?#w'o\\rd"} | changes


@pytest.mark.parametrize(
    "text",
    [
        URL,
        "postgres://{{username}}:{{password}}@db.example:5433/app",
        "host=db.example port=5433 dbname=app user={{username}} password={{password}}",
        "host=db.example  port = 5433 dbname='app' user='{{username}}' password='{{password}}'",
        "postgresql://db.example:5433/app?user={{username}}&password={{password}}",
        "postgresql:///app?host=db.example&port=5433",
        "postgresql://db.example:5433/app",
    ],
)
def test_texts_mean_the_same(text: str) -> None:
    """URL and keywords give the same parts; values with reserved characters are filled in after parsing."""
    target = describe(fields(text))
    settings = settings_of(target.config)
    assert settings.hosts == (("db.example", 5433),)
    assert (settings.database, settings.user) == ("app", "ad min")
    assert settings.password.reveal() == "p@ss:/?#w'o\\rd"
    assert target.name == target.identity == "db.example:5433/app"
    assert target.shown["connection_url"] == text


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:hunter2@db.example/app",
        "postgresql://me:hunt%65r2@db.example/app?sslmode=require",
        "postgresql://db.example/app?user=me&password=hunter2&sslmode=require",
        "host=db.example user=me password=hunter2 dbname=app",
        "host=db.example user=me dbname=app password='hunter2'",
    ],
)
def test_literal_password_is_not_shown(text: str) -> None:
    """A password written into the text is used, and the stored text has a placeholder in its place."""
    target = describe(fields(text))
    assert settings_of(target.config).password.reveal() == "hunter2"
    assert "hunt" not in str(target.shown) + repr(target)
    assert "{{password}}" in target.shown["connection_url"]
    again = describe(fields(target.shown["connection_url"], password="hunter2"))
    assert again.config == target.config


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("postgresql://a,b:6/d", (("a", 5432), ("b", 6))),
        ("postgresql://[::1]:6/d", (("::1", 6),)),
        ("host=a,b port=5,6 dbname=d", (("a", 5), ("b", 6))),
        ("host=a,b port=5 dbname=d", (("a", 5), ("b", 5))),
        ("postgresql://%2Frun%2Fpg/d", (("/run/pg", 5432),)),
        ("host=/run/pg dbname=d", (("/run/pg", 5432),)),
        ("dbname=d", (("localhost", 5432),)),
    ],
)
def test_hosts(text: str, hosts: tuple[tuple[str, int], ...]) -> None:
    """Several hosts, IPv6, sockets and defaults, as libpq reads them."""
    assert settings_of(describe(fields(text)).config).hosts == hosts


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"connection_url": ""}, "connection_url"),
        ({"connection_url": URL + "?search_path=x"}, "search_path"),
        ({"connection_url": "host=a options=-cx"}, "options"),
        ({"connection_url": "service=x"}, "service"),
        ({"connection_url": URL + "?sslmode=maybe"}, "sslmode"),
        ({"connection_url": URL + "?connect_timeout=soon"}, "connect_timeout"),
        ({"connection_url": URL + "?target_session_attrs=standby"}, "target_session_attrs"),
        ({"connection_url": "mysql://a/b"}, "connection_url"),
        ({"connection_url": "postgresql://a:99999/b"}, "port"),
        ({"connection_url": "host=a port=1,2,3 dbname=b"}, "ports"),
        ({"connection_url": "nonsense"}, "connection_url"),
        ({"connection_url": "postgresql://a/b", "username": ""}, "username"),
        ({"max_open_connections": "many"}, "max_open_connections"),
        ({"max_open_connections": 1000}, "max_open_connections"),
        ({"max_connection_lifetime": "x"}, "max_connection_lifetime"),
        ({"password_authentication": "md5"}, "password_authentication"),
        ({"scram_iterations": 0}, "scram_iterations"),
        ({"tls_certificate": "PEM"}, "private_key"),
        ({"username": "a\0b"}, "NUL"),
        ({"username": 7}, "username"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], name: str) -> None:
    """The error names the field or parameter and repeats no value."""
    with pytest.raises(InvalidRequestError) as caught:
        describe(fields() | changes)
    assert name in str(caught.value)
    assert "p@ss" not in str(caught.value)


def test_shown_has_vaults_fields() -> None:
    """A read shows what Vault shows, and no key or password."""
    target = describe(
        fields(max_open_connections="7", tls_ca="CA", private_key="KEY", tls_certificate="CERT")
    )
    assert target.shown == {
        "connection_url": URL,
        "max_open_connections": 7,
        "max_idle_connections": 0,
        "max_connection_lifetime": "0s",
        "password_authentication": "scram-sha-256",
        "username": "ad min",
        "tls_ca": "CA",
        "tls_certificate": "CERT",
    }


def test_sensitive_fields_are_taken() -> None:
    """Secrets may come wrapped."""
    target = describe(fields() | {"password": Sensitive("x"), "connection_url": Sensitive(URL)})
    assert settings_of(target.config).password.reveal() == "x"


def test_warnings() -> None:
    """Unknown fields, few iterations, clear passwords and unprotected ways are said."""
    text = " ".join(
        describe(fields(hello=1, scram_iterations=1, password_authentication="password")).warnings
    )
    for word in ("hello", "112", "clear", "sslmode"):
        assert word in text


def test_foreign_configuration() -> None:
    """A stored configuration that is not ours is refused."""
    with pytest.raises(InvalidRequestError, match="not this plugin's"):
        settings_of({"x": 1})
