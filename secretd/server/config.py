"""Reads the daemon's configuration, and the environment: the only module besides ``cli/`` and ``sidecar/`` that may.

Everything that can be wrong is refused here, before anything is opened, as a ConfigError that names
``section.key`` and says what to write instead. Secrets come out resolved, and in no message.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from secretd.crypto.seal import StaticSeal
from secretd.sdk.errors import ConfigError
from secretd.sdk.fields import Sensitive
from secretd.server import config_checks as checks
from secretd.server.config_reader import Reader, require_known
from secretd.server.config_schema import (
    EMBEDDED,
    Api,
    AuditTable,
    Config,
    ListenAddress,
    Listener,
    Log,
    Plugins,
    Scheduler,
    Seal,
    Section,
    Storage,
    Targets,
)
from secretd.server.options import ServerOptions

_TABLES: Mapping[str, type[Section]] = {
    "storage": Storage,
    "listener": Listener,
    "seal": Seal,
    "api": Api,
    "targets": Targets,
    "scheduler": Scheduler,
    "plugins": Plugins,
    "audit": AuditTable,
    "log": Log,
}
_MAX_FILE = 1 << 20  # bytes
_OWN_PLUGINS = ("secretd-postgresql",)  # of this repository; dev mode allows them in any version


def environment() -> Mapping[str, str]:
    """This process's environment, for those who may not read it themselves."""
    return os.environ


def load_config(path: Path, *, environ: Mapping[str, str] | None = None) -> Config:
    """Read and judge a file of TOML. Raises ConfigError; ``environ`` None: the process's own.

    Relative paths start at the file's folder. Secrets are read; TLS files are not, nor is anything connected.
    """
    found = _read_toml(path)
    reader = Reader(folder=path.absolute().parent, environ=environment() if environ is None else environ)
    storage = _read_storage(reader, found)
    listeners = reader.read_tables(Listener, found.get("listener", []), name="listener")
    checks.check_listeners(listeners)
    api = reader.read_table(Api, found.get("api", {}), name="api")
    api = api if api.address else msgspec.structs.replace(api, address=_default_address(listeners))
    config = Config(
        storage=storage,
        listeners=listeners,
        seal=reader.read_table(Seal, found.get("seal", {}), name="seal"),
        api=api,
        targets=reader.read_table(Targets, found.get("targets", {}), name="targets"),
        scheduler=reader.read_table(Scheduler, found.get("scheduler", {}), name="scheduler"),
        plugins=reader.read_table(Plugins, found.get("plugins", {}), name="plugins"),
        audit=checks.audit_devices(reader.read_tables(AuditTable, found.get("audit", []), name="audit")),
        log=reader.read_table(Log, found.get("log", {}), name="log"),
    )
    _check(config)
    return msgspec.structs.replace(
        config, warnings=(*reader.warnings, *checks.warn_listeners(config.listeners))
    )


def load_storage(path: Path, *, environ: Mapping[str, str] | None = None) -> Storage:
    """``[storage]`` of a file alone: whoever migrates need not be able to read the seal's key."""
    reader = Reader(folder=path.absolute().parent, environ=environment() if environ is None else environ)
    return _read_storage(reader, _read_toml(path))


def parse_storage(url: Sensitive, *, environ: Mapping[str, str] | None = None) -> Storage:
    """``--storage URL``: what ``storage.url`` may hold, with every other key at its default."""
    reader = Reader(folder=Path.cwd(), environ=environment() if environ is None else environ)
    return _read_storage(reader, {"storage": {"url": url.reveal()}})


def dev_config(options: ServerOptions, *, environ: Mapping[str, str] | None = None) -> Config:
    """``secretd server --dev``: loopback, no TLS, one share, our own plugins; ConfigError for more.

    Without ``--storage`` the database is embedded in ``--data``; ``storage.folder`` is None if a temporary
    folder is to be made.
    """
    address = _dev_address(options.dev_listen_address)
    folder = str(options.data.absolute()) if options.data is not None else ""
    storage = (
        Storage(url=Sensitive(EMBEDDED + folder))
        if options.storage is None
        else parse_storage(options.storage, environ=environ)
    )
    return Config(
        storage=storage,
        listeners=(Listener(address=address, tls="off"),),
        api=Api(address=f"http://{address}"),
        plugins=Plugins(allow=_OWN_PLUGINS),
        is_dev=True,
    )


def static_seal(config: Config) -> StaticSeal | None:
    """The static seal, if that is the type."""
    seal = config.seal
    if seal.key is None:
        return None
    previous = (seal.previous_key.key, seal.previous_key_id) if seal.previous_key is not None else None
    return StaticSeal(seal.key.key, seal.key_id, previous)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE + 1)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise ConfigError(f"the configuration cannot be read: {reason}", hint="check --config FILE") from None
    if len(content) > _MAX_FILE:
        raise ConfigError("the configuration is larger than 1 MiB", hint="check --config FILE")
    try:
        found = tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise ConfigError("the configuration is not UTF-8", hint="save it as UTF-8") from None
    except RecursionError:
        raise ConfigError("the configuration is nested too deeply", hint="two levels are enough") from None
    except tomllib.TOMLDecodeError as error:
        # The parser's own sentence may quote the line; its position is all that is repeated.
        place = re.search(r"at line \d+, column \d+|at end of document", str(error))
        where = f" {place[0]}" if place else ""
        raise ConfigError(f"the configuration is not TOML{where}", hint='text stands in "quotes"') from None
    for key in found:
        home = [name for name, kind in _TABLES.items() if key in kind.__struct_fields__]
        require_known([key], _TABLES, hint=f"it belongs under [{home[0]}]" if home else "")
    return found


def _read_storage(reader: Reader, found: Mapping[str, Any]) -> Storage:
    storage = reader.read_table(Storage, found.get("storage", {}), name="storage")
    if storage.is_embedded:
        if storage.folder is None:
            raise ConfigError(
                "storage.url names no folder", hint='as in "embedded:/var/lib/secretd"; it is made if absent'
            )
        folder = reader.absolute(str(storage.folder), key="storage.url")
        storage = msgspec.structs.replace(storage, url=Sensitive(f"{EMBEDDED}{folder}"))
    checks.check_storage(storage)
    return storage


def _check(config: Config) -> None:
    checks.check_seal(config.seal)
    checks.check_api(config.api)
    checks.check_targets(config.targets, config.api)
    checks.check_plugins(config.plugins)


def _default_address(listeners: tuple[Listener, ...]) -> str:
    """The first TCP listener's; a wildcard is reached by loopback."""
    for listener in listeners:
        address = listener.address
        if not address.is_unix:
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 -- read, not bound
            shown = ListenAddress(host=host, port=address.port)
            return f"{'https' if listener.has_tls else 'http'}://{shown}"
    return "http://localhost"


def _dev_address(text: str) -> ListenAddress:
    hint = "use --dev-listen-address 127.0.0.1:PORT"
    try:
        address = ListenAddress.parse(text)
    except ValueError:
        raise ConfigError("--dev-listen-address is not HOST:PORT", hint=hint) from None
    if address.is_unix or not address.is_loopback:
        raise ConfigError(
            "--dev-listen-address is not loopback: dev mode has no TLS and an open door",
            hint=f"{hint}, or write a configuration for `secretd server --config FILE`",
        )
    return address
