"""What the configuration is, key by key, once it has been read and judged. The keys are those of the TOML file.

Spans are whole seconds (:class:`Duration`), sizes bytes, paths absolute. Secrets stand resolved in a
:class:`Sensitive`, which no repr shows. A Struct here checks nothing: ``config_checks.py`` does.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from secretd.core.audit.place import DeviceSpec, Fsync
from secretd.http.tls import ClientCerts
from secretd.sdk.fields import Duration, Sensitive
from secretd.sdk.plugin import Reach

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]
EMBEDDED = "embedded:"
UNIX = "unix:"
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")
_MEBIBYTE = 1 << 20


class StaticKey(Sensitive):
    """An unseal key of 32 bytes; as text it is hex."""

    __slots__ = ()

    @property
    def key(self) -> bytes:
        """The 32 bytes."""
        return bytes.fromhex(self.reveal())


class Networks(tuple[Network, ...]):
    """Networks in CIDR notation; a bare address is a network of one."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Networks:
        """Return the networks; raise ValueError on anything but a list of CIDR texts."""
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError("a list of networks is wanted")
        return cls(ipaddress.ip_network(item) for item in value)


class ListenAddress(msgspec.Struct, frozen=True):
    """Where a listener listens: ``host`` and ``port``, or ``path`` of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, value: object) -> ListenAddress:
        """``127.0.0.1:8200``, ``[::1]:8200``, ``localhost:8200`` or ``unix:/path``; ValueError otherwise."""
        if not isinstance(value, str):
            raise ValueError("text is wanted")
        if value.startswith(UNIX):
            path = value.removeprefix(UNIX)
            if not path.startswith("/") or "\0" in path or len(path.encode()) > 107:
                raise ValueError("a unix socket has an absolute path of at most 107 bytes")
            return cls(path=path)
        host, _, port = value.rpartition(":")
        if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
            raise ValueError("the port is missing or out of range")
        return cls(host=_parse_host(host), port=int(port))

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket."""
        return bool(self.path)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.is_unix or self.host == "localhost" or _is_loopback(self.host)

    def __str__(self) -> str:
        if self.is_unix:
            return UNIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _parse_host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return str(ipaddress.IPv6Address(text[1:-1]))
    if re.fullmatch(r"[0-9.]+", text):
        return str(ipaddress.IPv4Address(text))
    if not _HOST.match(text):
        raise ValueError("the host is no address and no name")
    return text.lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the file."""


class Storage(Section, frozen=True, kw_only=True):
    """``[storage]``: PostgreSQL, elsewhere or embedded."""

    url: Sensitive
    pool_size: Annotated[int, Meta(ge=1, le=1000)] = 10
    connect_retry: Duration = Duration(60)
    migrate: Literal["auto", "never"] = "auto"
    pgbouncer: bool = False
    listen_url: str = ""
    state_dir: Path | None = None
    restore_hold: Literal["auto", "always", "never"] = "auto"

    @property
    def is_embedded(self) -> bool:
        """Whether the daemon starts a PostgreSQL of its own; then ``url`` is none that connects."""
        return self.url.reveal().startswith(EMBEDDED)

    @property
    def folder(self) -> Path | None:
        """The embedded database's folder; None: a temporary one (dev mode), or nothing is embedded."""
        path = self.url.reveal().removeprefix(EMBEDDED)
        return Path(path) if self.is_embedded and path else None


class Listener(Section, frozen=True, kw_only=True):
    """A ``[[listener]]``."""

    address: ListenAddress
    tls: Literal["on", "off"] = "on"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_min_version: Literal["1.2", "1.3"] = "1.2"
    client_certs: ClientCerts = "none"
    client_ca: Path | None = None
    trusted_proxies: Networks = Networks()
    proxy_protocol: bool = False
    unauthenticated_metrics: bool = False

    @property
    def has_tls(self) -> bool:
        """Whether it speaks TLS: both files are set then."""
        return self.tls_cert is not None and self.tls_key is not None


class Seal(Section, frozen=True, kw_only=True):
    """``[seal]``. The keys belong to type ``static``."""

    type: str = "shamir"
    key: StaticKey | None = None
    key_id: str = ""
    previous_key: StaticKey | None = None
    previous_key_id: str = ""
    init: Literal["manual", "auto"] = "manual"
    root_token_file: Path | None = None

    @property
    def is_auto_init(self) -> bool:
        """Whether an empty store is initialised at start."""
        return self.init == "auto"


class Api(Section, frozen=True, kw_only=True):
    """``[api]``. ``address`` is never empty once loaded: it comes from the first listener then."""

    address: str = ""
    max_request_bytes: Annotated[int, Meta(ge=_MEBIBYTE, le=256 * _MEBIBYTE)] = 32 * _MEBIBYTE
    request_deadline: Duration = Duration(90)
    default_lease_ttl: Duration = Duration(768 * 3600)
    max_lease_ttl: Duration = Duration(768 * 3600)
    audit_api_dir: Path | None = None
    allow_unauthenticated_rekey: bool = False


class Targets(Section, frozen=True, kw_only=True):
    """``[targets]``: what plugins may reach."""

    deadline: Duration = Duration(10)
    connect_timeout: Duration = Duration(3)
    concurrency: Annotated[int, Meta(ge=1, le=64)] = 4
    deny_networks: Networks = Networks.parse(["169.254.0.0/16", "fe80::/10"])

    def reach(self) -> Reach:
        """The same as plugins are told it."""
        return Reach(
            deadline=float(self.deadline),
            connect_timeout=float(self.connect_timeout),
            concurrency=self.concurrency,
            deny_networks=tuple(str(network) for network in self.deny_networks),
        )


class Scheduler(Section, frozen=True, kw_only=True):
    """``[scheduler]``."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 8


class Plugins(Section, frozen=True, kw_only=True):
    """``[plugins]``. Nothing is allowed by default; ``user`` is a login name."""

    allow: tuple[str, ...] = ()
    user: str = ""
    pins: dict[str, str] = {}


class AuditTable(Section, frozen=True, kw_only=True):
    """An ``[[audit]]`` as it is written."""

    path: Path
    type: str = "file"
    required: bool = True
    fsync: Fsync = "none"


class Log(Section, frozen=True, kw_only=True):
    """``[log]``. ``format`` None: console on a terminal, else json."""

    level: Level = "info"
    format: Format | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. ``warnings`` are sentences for the log, without values."""

    storage: Storage
    listeners: tuple[Listener, ...]
    seal: Seal = Seal()
    api: Api = Api()
    targets: Targets = Targets()
    scheduler: Scheduler = Scheduler()
    plugins: Plugins = Plugins()
    audit: tuple[DeviceSpec, ...] = ()
    log: Log = Log()
    is_dev: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def state_dir(self) -> Path | None:
        """The stamp file's folder: as set, else beside the first audit file, else the embedded database's."""
        if self.storage.state_dir is not None:
            return self.storage.state_dir
        return Path(self.audit[0].file_path).parent if self.audit else self.storage.folder
