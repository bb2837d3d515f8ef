"""A connection's fields: understood without I/O, text first, values filled in afterwards.

What is stored is :class:`Settings`, in parts; the text that a read shows never holds the password.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any, Final, cast

import msgspec

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Duration, Sensitive, decode_hook, encode_sealed
from secretd.sdk.plugin import Target
from secretd_postgresql.dsn import Dsn, parse_dsn

MIN_ITERATIONS: Final = 4096
MAX_ITERATIONS: Final = 1_000_000  # about half a second of this machine for each password
MAX_CONNECTIONS: Final = 100
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_ATTRIBUTES: Final = ("any", "read-write", "primary")


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator writes to ``database/config/{name}``, as far as it is PostgreSQL's."""

    connection_url: Sensitive = Sensitive("")
    username: str = ""
    password: Sensitive = Sensitive("")
    max_open_connections: int = 4
    max_idle_connections: int = 0
    max_connection_lifetime: Duration = Duration(0)
    tls_ca: str = ""
    tls_certificate: str = ""
    private_key: Sensitive = Sensitive("")
    password_authentication: str = "scram-sha-256"  # noqa: S105 - a method's name
    scram_iterations: int = MIN_ITERATIONS
    disable_escaping: bool = False  # Vault's; values are safe by construction here


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What a role adds: the long-lived NOLOGIN role that its users become members of."""

    group_role: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A connection in parts: behind the barrier at rest, sent with every call."""

    identity: str
    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str
    password: Sensitive
    sslmode: str
    sslrootcert: str
    tls_ca: str
    tls_certificate: str
    private_key: Sensitive
    connect_timeout: float  # seconds; 0 = the daemon's
    attributes: str
    application_name: str
    max_open: int
    max_idle: int
    lifetime: int  # seconds; 0 = no end
    clear_passwords: bool
    scram_iterations: int


def describe(config: dict[str, Any]) -> Target:
    """Return the target of these fields. Raises InvalidRequestError naming the field."""
    fields = _decode(config)
    if not fields.connection_url:
        raise InvalidRequestError(
            "connection_url is missing", hint="postgresql://{{username}}:{{password}}@host/db"
        )
    dsn = parse_dsn(fields.connection_url.reveal())
    settings = _settings(fields, dsn)
    return Target(
        name=settings.identity,
        identity=settings.identity,
        config=cast("dict[str, Any]", msgspec.to_builtins(settings, enc_hook=encode_sealed)),
        shown=_shown(fields, dsn),
        warnings=_warnings(config, settings, fields),
    )


def settings_of(config: dict[str, Any]) -> Settings:
    """Return the settings that :func:`describe` stored."""
    try:
        return msgspec.convert(config, Settings, dec_hook=decode_hook)
    except msgspec.ValidationError:
        raise InvalidRequestError(
            "the stored connection is not this plugin's", hint="write it again"
        ) from None


def digest_of(config: dict[str, Any]) -> bytes:
    """What connections of one pool have in common."""
    return hashlib.sha256(msgspec.msgpack.encode(config, enc_hook=encode_sealed)).digest()


def _decode(config: dict[str, Any]) -> Connection:
    """Field by field, so that the error can name the field and nothing else."""
    plain = {name: _plain(value) for name, value in config.items() if name in _NAMES and value is not None}
    try:
        return msgspec.convert(plain, Connection, strict=False, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        field = str(error).rpartition("$.")[2].rstrip("`")
        name = field if field in _NAMES else "a field"
        raise InvalidRequestError(f"{name} has the wrong type or shape") from None


_NAMES: Final = frozenset(Connection.__struct_fields__)


def _plain(value: object) -> object:
    return value.reveal() if isinstance(value, Sensitive) else value


def _settings(fields: Connection, dsn: Dsn) -> Settings:
    password = dsn.password.reveal().replace("{{password}}", fields.password.reveal())
    database = dsn.take("dbname") or dsn.take("user", fields.username)
    hosts = dsn.hosts or (("localhost", 5432),)
    settings = Settings(
        identity=",".join(f"{host}:{port}" for host, port in hosts) + f"/{database}",
        hosts=hosts,
        database=database,
        user=dsn.take("user", fields.username) or fields.username,
        password=Sensitive(password or fields.password.reveal()),
        sslmode=_one_of("sslmode", dsn.take("sslmode") or "prefer", _SSL_MODES),
        sslrootcert=dsn.take("sslrootcert"),
        tls_ca=fields.tls_ca,
        tls_certificate=fields.tls_certificate,
        private_key=fields.private_key,
        connect_timeout=_seconds(dsn.take("connect_timeout")),
        attributes=_one_of(
            "target_session_attrs", dsn.take("target_session_attrs") or "primary", _ATTRIBUTES
        ),
        application_name=dsn.take("application_name") or "secretd",
        max_open=_between("max_open_connections", fields.max_open_connections or 4, 1, MAX_CONNECTIONS),
        max_idle=_between("max_idle_connections", fields.max_idle_connections, -1, MAX_CONNECTIONS),
        lifetime=_between("max_connection_lifetime", fields.max_connection_lifetime, 0, 2**31),
        clear_passwords=_is_clear(fields.password_authentication),
        scram_iterations=_between("scram_iterations", fields.scram_iterations, 1, MAX_ITERATIONS),
    )
    _require_whole(settings)
    return settings


def _require_whole(settings: Settings) -> None:
    if not settings.user:
        raise InvalidRequestError("username is missing", hint="give username, or a user in connection_url")
    if not settings.database:
        raise InvalidRequestError("connection_url names no database")
    if bool(settings.tls_certificate) != bool(settings.private_key):
        raise InvalidRequestError("tls_certificate and private_key go together")
    if any("\0" in part for part in (settings.user, settings.database, settings.password.reveal())):
        raise InvalidRequestError("a part of the connection holds a NUL")


def _is_clear(method: str) -> bool:
    return _one_of("password_authentication", method, ("scram-sha-256", "password")) == "password"


def _one_of(name: str, value: str, values: tuple[str, ...]) -> str:
    if value not in values:
        raise InvalidRequestError(f"{name} is none of {', '.join(values)}")
    return value


def _between(name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise InvalidRequestError(f"{name} is not between {least} and {most}")
    return int(value)


def _seconds(text: str) -> float:
    try:
        return float(max(int(text or "0"), 0))
    except ValueError:
        raise InvalidRequestError("connect_timeout is not a whole number of seconds") from None


def _shown(fields: Connection, dsn: Dsn) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "connection_url": dsn.shown,
        "max_open_connections": fields.max_open_connections,
        "max_idle_connections": fields.max_idle_connections,
        "max_connection_lifetime": f"{int(fields.max_connection_lifetime)}s",
        "password_authentication": fields.password_authentication,
        "username": fields.username,
    }
    if fields.scram_iterations != MIN_ITERATIONS:
        shown["scram_iterations"] = fields.scram_iterations
    for name in ("tls_ca", "tls_certificate"):
        if getattr(fields, name):
            shown[name] = getattr(fields, name)
    return shown


def _warnings(config: dict[str, Any], settings: Settings, fields: Connection) -> tuple[str, ...]:
    warnings = []
    unknown = sorted(name for name in config if name not in _NAMES)
    if unknown:
        warnings.append(f"Endpoint ignored these unrecognized parameters: {unknown}")
    if settings.scram_iterations < MIN_ITERATIONS:
        warnings.append(
            f"scram_iterations below {MIN_ITERATIONS} needs a password policy of 112 bits or more"
        )
    if settings.clear_passwords:
        warnings.append("with password_authentication = password, new passwords reach the target in clear")
    if settings.sslmode in {"disable", "allow", "prefer"} and not all(
        _is_near(host) for host, _ in settings.hosts
    ):
        warnings.append(f"sslmode {settings.sslmode} does not protect this connection; use verify-full")
    return tuple(warnings)


def _is_near(host: str) -> bool:
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
