"""Where Postgres is: a connection URL or libpq's keyword text, as asyncpg's arguments.

asyncpg is no libpq: it refuses ``host=… user=…`` and forwards keys it does not know (say
``connect_timeout``) to the server as settings. So both forms are read here first and only known keys
pass. Errors name the key, never a value: the text holds a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from secretd.sdk.errors import ConfigError
from secretd.sdk.fields import Sensitive

_TLS = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword"}) | {
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
}
_PLAIN = frozenset({"host", "port", "user", "password", "dbname", "passfile", "target_session_attrs"})
_OURS = frozenset({"connect_timeout", "application_name"})
# libpq's own matters, without meaning or without harm for asyncpg
_IGNORED = frozenset({"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"}) | {
    "client_encoding",
    "channel_binding",
    "gssencmode",
    "sslcompression",
    "sslsni",
    "tcp_user_timeout",
    "fallback_application_name",
}
_PAIR = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?:\s+|\Z)")
_HINT = "a URL looks like postgresql://user:password@host:5432/database; percent-encode special characters"


@dataclass(frozen=True, kw_only=True)
class Address:
    """A parsed connection text. ``hosts`` and ``ports`` run in parallel; empty means the default."""

    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    user: str | None = None
    password: Sensitive | None = None
    database: str | None = None
    passfile: str | None = None
    target_session_attrs: str | None = None
    connect_timeout: float | None = None  # seconds
    application_name: str = "secretd"
    tls: dict[str, str] = field(default_factory=dict, repr=False)

    def arguments(self) -> dict[str, Any]:
        """asyncpg's keyword arguments, with the password in clear: pass on, never keep."""
        found: dict[str, Any] = {
            "host": list(self.hosts) or None,
            "port": list(self.ports) or None,
            "user": self.user,
            "password": self.password.reveal() if self.password else None,
            "database": self.database,
            "passfile": self.passfile,
            "target_session_attrs": self.target_session_attrs
            or ("read-write" if len(self.hosts) > 1 else None),
        }
        if self.tls:  # asyncpg reads certificates and modes from a URL only
            found["dsn"] = "postgresql:///?" + urlencode(self.tls)
        return {key: value for key, value in found.items() if value is not None}


def parse_address(text: str) -> Address:
    """Read either form; raise ConfigError that names the key and repeats no value."""
    text = text.strip()
    if text.startswith(("postgresql://", "postgres://")):
        return _address(_read_url(text))
    if "=" in text and "://" not in text:
        return _address(_read_pairs(text))
    raise ConfigError("storage.url is neither a postgresql:// URL nor keyword=value text", hint=_HINT)


def _read_url(text: str) -> dict[str, str]:
    try:
        parts = urlsplit(text)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ConfigError("storage.url cannot be parsed", hint=_HINT) from None
    if parts.fragment:
        raise ConfigError("storage.url holds a bare '#'", hint=_HINT)
    login, _, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    hosts, ports = _split_places(places)
    found = {
        "user": unquote(user),
        "password": unquote(password),
        "host": hosts,
        "port": ports,
        "dbname": unquote(parts.path.removeprefix("/")),
    }
    return {key: value for key, value in found.items() if value.strip(",")} | dict(query)


def _split_places(places: str) -> tuple[str, str]:
    """``a:1,[::1]:2`` as ``a,::1`` and ``1,2``."""
    hosts, ports = [], []
    for place in places.split(","):
        match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::(\d*))?", place)
        if match is None:
            raise ConfigError("storage.url: the host cannot be parsed", hint=_HINT)
        hosts.append(unquote(match[1].strip("[]")))
        ports.append(match[2] or "")
    return ",".join(hosts), ",".join(ports)


def _read_pairs(text: str) -> dict[str, str]:
    found, position = {}, 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            raise ConfigError("storage.url: the keyword=value text cannot be parsed", hint=_HINT)
        value = match[2] if match[2] is not None else match[3]
        found[match[1]] = re.sub(r"\\(.)", r"\1", value)
        position = match.end()
    return found


def _address(found: dict[str, str]) -> Address:
    found = {("dbname" if key == "database" else key): value for key, value in found.items()}
    for key in found.keys() - _TLS - _PLAIN - _OURS - _IGNORED:
        name = key if re.fullmatch(r"\w{1,40}", key) else "a key"
        raise ConfigError(f"storage.url: {name} is not known", hint="see [storage] in the configuration")
    hosts = tuple(filter(None, found.get("host", "").split(",")))
    return Address(
        hosts=hosts,
        ports=_ports(found.get("port", ""), count=len(hosts)),
        user=found.get("user") or None,
        password=Sensitive(found["password"]) if found.get("password") else None,
        database=found.get("dbname") or None,
        passfile=found.get("passfile") or None,
        target_session_attrs=found.get("target_session_attrs") or None,
        connect_timeout=_seconds(found.get("connect_timeout")),
        application_name=found.get("application_name") or "secretd",
        tls={key: value for key, value in found.items() if key in _TLS},
    )


def _ports(text: str, *, count: int) -> tuple[int, ...]:
    if not text.strip(","):
        return ()
    try:
        ports = tuple(int(port or "5432") for port in text.split(","))
    except ValueError:
        raise ConfigError("storage.url: port is not a number", hint=_HINT) from None
    if not all(0 < port < 65536 for port in ports) or (len(ports) not in (1, max(count, 1))):
        raise ConfigError("storage.url: port is out of range or does not fit the hosts", hint=_HINT)
    return ports if len(ports) == max(count, 1) else ports * count


def _seconds(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return float(int(text)) or None  # libpq: 0 is "wait for ever"; ours falls back to the default
    except ValueError:
        raise ConfigError("storage.url: connect_timeout is not a whole number of seconds") from None
