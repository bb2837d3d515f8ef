"""Connection texts: a URL or libpq's keywords, parsed before any value is filled in.

So a password with ``@`` or a blank in it changes nothing: the text holds a placeholder where it goes.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Sensitive

DEFAULT_PORT: Final = 5432
_KNOWN: Final = frozenset(
    {
        *("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "connect_timeout"),
        *("target_session_attrs", "application_name"),
    }
)
_URL = re.compile(r"postgres(?:ql)?://(?:([^/?#]*)@)?([^/?#@]*)(?:/([^?#]*))?(?:\?([^#]*))?\Z")
_KEYWORD = re.compile(
    r"\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|\Z)", re.DOTALL
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(\d{1,5}))?\Z")


class Dsn(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed text. ``values`` hold placeholders still; ``shown`` is the text without a password."""

    hosts: tuple[tuple[str, int], ...]
    values: dict[str, str]
    password: Sensitive
    shown: str

    def take(self, name: str, username: str = "") -> str:
        """Return a value with its placeholder filled in, empty when it is not given."""
        return self.values.get(name, "").replace("{{username}}", username)


def parse_dsn(text: str) -> Dsn:
    """Return the parts of a connection text. Raises InvalidRequestError naming the parameter."""
    text = text.strip()
    dsn = _parse_url(text) if "://" in text else _parse_keywords(text)
    for name in dsn.values:
        if name not in _KNOWN:
            raise InvalidRequestError(
                f"connection_url has a parameter that is not supported: {name}",
                hint="supported: " + ", ".join(sorted(_KNOWN)),
            )
    return dsn


def _parse_url(text: str) -> Dsn:
    match = _URL.match(text)
    if match is None:
        raise InvalidRequestError("connection_url is no PostgreSQL URL", hint="special characters go as %XX")
    userinfo, places, database, query = (part or "" for part in match.groups())
    raw_user, _, raw_password = userinfo.partition(":")
    values = {name: value for name, value in parse_qsl(query, keep_blank_values=True) if _is_word(name)}
    password = values.pop("password", "") or unquote(raw_password)
    for name, value in (("user", unquote(raw_user)), ("dbname", unquote(database))):
        if value:
            values.setdefault(name, value)
    hosts = tuple(_place(place) for place in places.split(",")) if places else ()
    if "host" in values:
        hosts = _pair(values.pop("host"), values.pop("port", ""))
    shown = text
    if _is_literal(password):
        shown = _url_without_password(text, userinfo, raw_user)
    return Dsn(hosts=hosts, values=values, password=Sensitive(password), shown=shown)


def _is_word(name: str) -> bool:
    if not re.fullmatch(r"[A-Za-z_]{1,40}", name):
        raise InvalidRequestError("connection_url has a parameter without a proper name")
    return True


def _url_without_password(text: str, userinfo: str, raw_user: str) -> str:
    scheme, _, rest = text.partition("://")
    if userinfo:
        rest = rest.removeprefix(userinfo)
        rest = f"{raw_user}:{{{{password}}}}{rest}"
    return scheme + "://" + re.sub(r"([?&]password=)[^&]*", r"\1{{password}}", rest)


def _parse_keywords(text: str) -> Dsn:
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _KEYWORD.match(text, at)
        if match is None:
            raise InvalidRequestError("connection_url is neither a URL nor keywords with values")
        quoted, bare = match[2], match[3]
        values[match[1]] = re.sub(r"\\(.)", r"\1", quoted if quoted is not None else bare, flags=re.DOTALL)
        at = match.end()
    password = values.pop("password", "")
    shown = text
    if _is_literal(password):
        shown = " ".join(
            [f"{name}={_keyword_value(value)}" for name, value in values.items()] + ["password={{password}}"]
        )
    hosts = _pair(values.pop("host", ""), values.pop("port", ""))
    return Dsn(hosts=hosts, values=values, password=Sensitive(password), shown=shown)


def _is_literal(password: str) -> bool:
    return bool(password) and password != "{{password}}"  # noqa: S105 - the placeholder


def _keyword_value(value: str) -> str:
    if re.fullmatch(r"[^\s'\\]+", value):
        return value
    return "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"


def _place(text: str) -> tuple[str, int]:
    match = _HOST.match(unquote(text))
    if match is None:
        raise InvalidRequestError("connection_url has a host that is not understood")
    return match[1].strip("[]") or "localhost", _port(match[2] or "")


def _pair(hosts: str, ports: str) -> tuple[tuple[str, int], ...]:
    """Libpq's lists: as many ports as hosts, or one for all."""
    names = [name.strip() or "localhost" for name in hosts.split(",")]
    numbers = [_port(number.strip()) for number in ports.split(",")]
    if len(numbers) not in {1, len(names)}:
        raise InvalidRequestError("connection_url has another number of ports than of hosts")
    if len(numbers) == 1:
        numbers *= len(names)
    return tuple(zip(names, numbers, strict=True))


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise InvalidRequestError("connection_url has a port that is no port")
    return int(text)
