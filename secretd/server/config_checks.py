"""What a configuration's values must be to make sense together. Each check raises ConfigError: key and hint."""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from secretd.core.audit.place import DeviceSpec
from secretd.core.plugins.catalog import PluginCatalog
from secretd.sdk.errors import ConfigError
from secretd.sdk.fields import Duration
from secretd.server.config_reader import table_note
from secretd.server.config_schema import Api, AuditTable, Config, Listener, Plugins, Seal, Storage, Targets
from secretd.storage.address import parse_address

_DAY = 86_400
_LONGEST = 100 * 366 * _DAY  # seconds; Duration's own limit is nearer
_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_LATER_SEALS = frozenset({"pkcs11", "awskms", "gcpckms", "azurekeyvault", "transit", "ocikms", "kmip"})


def check_storage(storage: Storage) -> None:
    """``[storage]``: the URL is understood; nothing is asked that is not built."""
    _require_span("storage.connect_retry", storage.connect_retry, least=0, most=_DAY)
    if storage.listen_url:
        raise _later("storage.listen_url", 'leave it "": generations are read with each request')
    if storage.restore_hold != "auto":
        raise _later("storage.restore_hold", 'leave it "auto"')
    if not storage.is_embedded:
        parse_address(storage.url.reveal())


def check_listeners(listeners: tuple[Listener, ...]) -> None:
    """Every ``[[listener]]``, and that no two want the same address."""
    if not listeners:
        raise ConfigError("listener.address is missing", hint="add a [[listener]] table")
    for number, listener in enumerate(listeners):
        note = table_note(number, len(listeners))
        _check_tls(listener, note)
        _check_proxies(listener, note)
        if not listener.address.is_unix and not listener.address.port:
            raise ConfigError(f"listener.address{note} has port 0", hint="a port from 1 to 65535 is wanted")
        if any(listener.address == other.address for other in listeners[:number]):
            raise ConfigError(f"listener.address{note} is there twice", hint="give each its own address")


def _check_tls(listener: Listener, note: str) -> None:
    files = {"tls_cert": listener.tls_cert, "tls_key": listener.tls_key}
    asks = listener.client_certs != "none"
    is_off = listener.tls == "off" or listener.address.is_unix
    if is_off:
        for key, value in {**files, "client_ca": listener.client_ca, "client_certs": asks or None}.items():
            if value is not None:
                raise ConfigError(
                    f"listener.{key}{note} has no effect without TLS",
                    hint='take it out, or take tls = "off" out (a unix socket never has TLS)',
                )
        return
    for key, value in files.items():
        if value is None:
            raise ConfigError(
                f"listener.{key}{note} is missing", hint='TLS is required unless tls = "off" is written out'
            )
    if listener.client_ca is not None and not asks:
        raise ConfigError(
            f"listener.client_ca{note} has no effect without client_certs",
            hint='set client_certs = "request" or "require"',
        )


def _check_proxies(listener: Listener, note: str) -> None:
    if listener.proxy_protocol and listener.address.is_unix:
        raise ConfigError(f"listener.proxy_protocol{note} is for TCP", hint="take it out")
    if listener.proxy_protocol and not listener.trusted_proxies:
        raise ConfigError(
            f"listener.proxy_protocol{note} trusts nobody",
            hint="list the proxies' networks in trusted_proxies: anybody else could forge a client's address",
        )


def warn_listeners(listeners: tuple[Listener, ...]) -> Iterator[str]:
    """What is allowed and deserves a second look."""
    for number, listener in enumerate(listeners):
        note = table_note(number, len(listeners))
        if not listener.has_tls and not listener.address.is_loopback:
            yield f"listener.tls{note} is off, and other machines can connect: tokens travel in clear"
        if any(network.prefixlen == 0 for network in listener.trusted_proxies):
            yield f"listener.trusted_proxies{note} trusts everybody: client addresses can be forged"


def check_seal(seal: Seal) -> None:
    """``[seal]``: a known type, and the keys that it needs."""
    if seal.type in _LATER_SEALS:
        raise _later("seal.type", 'use "shamir" or "static"')
    if seal.type not in {"shamir", "static"}:
        raise ConfigError("seal.type is not known", hint='one of "shamir", "static" is wanted')
    given = {
        "key": seal.key,
        "key_id": seal.key_id,
        "previous_key": seal.previous_key,
        "previous_key_id": seal.previous_key_id,
        "init": seal.is_auto_init,
        "root_token_file": seal.root_token_file,
    }
    if seal.type == "shamir":
        for key, value in given.items():
            if value:
                raise ConfigError(f"seal.{key} has no effect here", hint='it belongs to type = "static"')
        return
    for key in ("key", "key_id"):
        if not given[key]:
            raise ConfigError(
                f"seal.{key} is missing",
                hint='type = "static" needs key and key_id; make a key: `secretd operator keygen`',
            )
    _check_previous_key(seal)
    if seal.is_auto_init != (seal.root_token_file is not None):
        raise ConfigError(
            "seal.root_token_file and seal.init do not fit each other",
            hint='init = "auto" writes the first root token to root_token_file, and wants one',
        )


def _check_previous_key(seal: Seal) -> None:
    if (seal.previous_key is None) != (not seal.previous_key_id):
        raise ConfigError("seal.previous_key and seal.previous_key_id go together", hint="set both or none")
    if seal.previous_key_id and seal.previous_key_id == seal.key_id:
        raise ConfigError("seal.previous_key_id is the same as key_id", hint="a new key has a new id")


def check_api(api: Api) -> None:
    """``[api]``: an address clients can use, TTLs in order."""
    _require_url(api.address)
    _require_span("api.request_deadline", api.request_deadline, least=1, most=3600)
    _require_span("api.default_lease_ttl", api.default_lease_ttl, least=1, most=_LONGEST)
    _require_span("api.max_lease_ttl", api.max_lease_ttl, least=1, most=_LONGEST)
    if api.default_lease_ttl > api.max_lease_ttl:
        raise ConfigError(
            "api.default_lease_ttl is longer than api.max_lease_ttl", hint="raise the one or lower the other"
        )
    if api.allow_unauthenticated_rekey:
        raise _later("api.allow_unauthenticated_rekey", "leave it false")


def _require_url(address: str) -> None:
    try:
        parts = urlsplit(address)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good or parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigError(
            "api.address is no address", hint='"https://HOST:PORT" is wanted, as clients reach this daemon'
        )


def check_targets(targets: Targets, api: Api) -> None:
    """``[targets]``: a connection fits in a call, a call fits in a request."""
    _require_span("targets.connect_timeout", targets.connect_timeout, least=1, most=3600)
    _require_span("targets.deadline", targets.deadline, least=1, most=3600)
    if targets.connect_timeout > targets.deadline:
        raise ConfigError(
            "targets.connect_timeout is longer than targets.deadline", hint="it is a part of it"
        )
    if targets.deadline > api.request_deadline:
        raise ConfigError("targets.deadline is longer than api.request_deadline", hint="it is a part of it")


def check_plugins(plugins: Plugins) -> None:
    """``[plugins]``: every entry can be read."""
    try:
        PluginCatalog(allow=plugins.allow, pins=plugins.pins)
    except ConfigError as error:
        hint = error.hint or 'as in allow = ["secretd-postgresql==0.1.*"]; pins: `secretd plugin info NAME`'
        raise ConfigError(error.message, hint=hint) from None
    if plugins.user and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", plugins.user):
        raise ConfigError("plugins.user is no user's name", hint="a name from the system's user table")


def require_plugin_user(config: Config, *, is_root: bool) -> None:
    """Plugins' children of a daemon that runs as root get a user of their own, outside dev mode.

    ``user = "root"`` has to be written out: some interpreters are where nobody else can read them.
    """
    if not is_root or config.is_dev or not config.plugins.allow:
        return
    if not config.plugins.user:
        raise ConfigError(
            "plugins.user is missing: the daemon runs as root, and so would its plugins",
            hint='run the daemon as an unprivileged user, or name one for plugins, as in user = "nobody"',
        )
    try:
        pwd.getpwnam(config.plugins.user)
    except KeyError:
        raise ConfigError("plugins.user is unknown here", hint="make the user, or name another") from None


def audit_devices(tables: tuple[AuditTable, ...]) -> tuple[DeviceSpec, ...]:
    """The devices of the ``[[audit]]`` tables; a device's name in `sys/audit` is its file's, without extension.

    The name comes from the file, not from the table's place: heads of chains are kept under it, and
    tables may be reordered.
    """
    devices: list[DeviceSpec] = []
    for number, table in enumerate(tables):
        note = table_note(number, len(tables))
        if table.type != "file":
            raise ConfigError(f"audit.type{note} is not known", hint='"file" is wanted')
        name = table.path.stem
        if not _STEM.match(name):
            raise ConfigError(f"audit.path{note} names no file", hint="letters, digits, '_', '-' and '.'")
        if any(device.path == name + "/" for device in devices):
            raise ConfigError(
                f"audit.path{note} has the name of another device's file",
                hint="give each file a name of its own: it is the device's name in sys/audit",
            )
        devices.append(
            DeviceSpec(path=name + "/", file_path=str(table.path), required=table.required, fsync=table.fsync)
        )
    return tuple(devices)


def _require_span(key: str, value: Duration, *, least: int, most: int) -> None:
    if not least <= value <= most:
        reason = "is negative" if value < 0 else "is too short" if value < least else "is too long"
        raise ConfigError(f"{key} {reason}", hint=f"at least {least} s and at most {most} s are wanted")


def _later(key: str, hint: str) -> ConfigError:
    return ConfigError(f"{key}: this value is not supported yet", hint=hint)
